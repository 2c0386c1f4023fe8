"""The words of aptask: plain values, without reactor, input, output or clock."""
