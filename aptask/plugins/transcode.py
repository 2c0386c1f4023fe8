"""The task `transcode`: ffmpeg."""

from aptask.tasks.guard import refuse_data_folder
from aptask.tasks.task import Program, argument


class Transcode(Program):
    """Converts a video or sound with ffmpeg; the name of the target says into what."""

    requires = ("ffmpeg",)
    privileged = True
    progress = "ffmpeg"

    source = argument(str, minimum=1, help="a file")
    target = argument(str, minimum=1, help="the file to make, replacing one that is there")
    quality = argument(int, default=23, minimum=0, maximum=63, help="less is better, and larger")

    def command(self) -> list[str]:
        refuse_data_folder(self.source, self.target)
        command = ["ffmpeg", "-nostdin", "-y", "-hide_banner", "-i", f"file:{self.source}"]
        return [*command, "-crf", str(self.quality), f"file:{self.target}"]
