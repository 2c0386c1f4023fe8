"""The task `program`: any program at all."""

from aptask.tasks.task import Program, argument


class AnyProgram(Program):
    """Runs a program."""

    name = "program"
    privileged = True

    command = argument(list[str], minimum=1, help="the program and its arguments")
    cwd = argument(str, default=None, help="the folder it works in; default: the account's home")
    env = argument(
        dict[str, str], default={}, secret="values", help="what is added to its environment"
    )
    stdin = argument(str, default=None, help="text for its standard input")
    progress = argument(str, default="auto", help="how its output is read: the name of a parser")
    nice = argument(int, default=None, minimum=-20, maximum=19, help="its niceness")
    memory_limit = argument(
        int, default=None, minimum=1 << 20, help="bytes of memory that it may have"
    )
