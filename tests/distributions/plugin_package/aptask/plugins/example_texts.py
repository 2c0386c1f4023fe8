"""Tasks about texts."""

from aptask import Program, Task, argument


class CountWords(Task):
    """Counts the words of a text."""

    text = argument(str, help="any text")
    least = argument(int, default=1, minimum=1, help="ignore shorter words")

    def run(self):
        words = self.text.split()
        return {"words": sum(len(word) >= self.least for word in self.track(words))}


class Shout(Program):
    """Says a text in capital letters."""

    text = argument(str, help="any text")

    def command(self):
        return ["printf", "%s\\n", self.text.upper()]
