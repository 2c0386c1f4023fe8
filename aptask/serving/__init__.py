"""The protocol, as it is spoken with clients: who asks, what is done, and the connections."""
