"""A task about letters."""

from collections import Counter

from aptask import Task, argument


class CountLetters(Task):
    """Counts each letter of a text."""

    text = argument(str, help="any text")

    def run(self):
        return dict(Counter(letter for letter in self.text.lower() if letter.isalpha()))
