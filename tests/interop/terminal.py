"""A terminal in tmux, on a server of its own: what a program shows there, and how it leaves it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import unicodedata
from pathlib import Path

from harness import PATIENCE, wait_until

TMUX = shutil.which("tmux")
# Runs a program, writes down how it ended, and says so
# and whether the terminal's modes are as before.
SHELL = """\
trap : HUP
before=$(stty -g)
"$@"
echo $? >"$0"
echo "ended with $(cat "$0")"
[ "$(stty -g)" = "$before" ] && echo "modes as before" || stty -a
exec cat
"""
PAINT = re.compile(r"\x1b\[([\d;]*)m")


class Screen:
    """What a terminal shows at one moment: its characters with their colours."""

    def __init__(self, capture):
        self.cells = list(painted(capture))
        self.rows = ["".join(character for character, *_ in row) for row in self.cells]
        self.text = "\n".join(self.rows)

    def row(self, part):
        """The first row with this text; empty if there is none."""
        return next((row for row in self.rows if part in row), "")

    def ink(self, part):
        """The colour of the first character of this text; `None` also if it is not there."""
        return self._cell(part)[1]

    def ground(self, part):
        """The colour behind it."""
        return self._cell(part)[2]

    def grounds(self):
        return {ground for row in self.cells for *_, ground in row}

    def size(self):
        """The columns of each row, if they are all as many, and the rows."""
        widths = {columns(row) for row in self.rows}
        return (widths.pop() if len(widths) == 1 else widths), len(self.rows)

    def _cell(self, part):
        for cells, row in zip(self.cells, self.rows):
            if part in row:
                return cells[row.index(part)]
        return "", None, None


class Terminal:
    """A program in a terminal of this size, and a shell that is left when the program has ended."""

    def __init__(self, folder, argv, size):
        width, height = map(str, size)
        self.tmux = [TMUX, "-u", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        plain = ("NO_COLOR", "TMUX", "TMUX_PANE")
        self.env = {name: value for name, value in os.environ.items() if name not in plain}
        self.ended = folder / "ended"
        shell = ["sh", "-c", SHELL, str(self.ended), *argv]
        start = ["new-session", "-d", "-x", width, "-y", height, *shell]
        whole = ["set", "-g", "status", "off", ";", "resize-window", "-x", width, "-y", height]
        self._do(*start, ";", *whole)
        self.shell = int(self.ask("#{pane_pid}"))
        self.pid = None

    def screen(self):
        """With the rows that the terminal has wrapped joined again."""
        return Screen(self._do("capture-pane", "-p", "-e", "-J"))

    def ask(self, what):
        return self._do("display-message", "-p", what).strip()

    def press(self, *keys):
        self._do("send-keys", *keys)

    def resize(self, size):
        width, height = map(str, size)
        self._do("resize-window", "-x", width, "-y", height)

    def wait_for(self, what, condition):
        """The first screen that meets the condition."""
        screens = []

        def is_met():
            screens[:] = [self.screen()]
            return condition(screens[0])

        try:
            wait_until(is_met, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{screens[0].text}") from None
        return screens[0]

    def wait_to_show(self, *parts):
        wanted = f"{parts} is shown"
        return self.wait_for(wanted, lambda screen: all(part in screen.text for part in parts))

    def wait_taken(self):
        """Waits until the program has the screen to itself."""
        wait_until(lambda: self._flags() == "1 0", "the other screen, without a cursor")
        children = Path(f"/proc/{self.shell}/task/{self.shell}/children")
        self.pid = int(children.read_text())

    def wait_given_back(self, *said, code=0):
        """Waits until the program has ended with this code and left nothing but last words."""
        expected = [*said, f"ended with {code}", "modes as before"]

        def is_clean(screen):
            return [row.rstrip() for row in screen.rows if row.strip()] == expected

        self.wait_for(f"the shell's screen with {expected}", is_clean)
        assert self._flags() == "0 1", "the shell's screen, with a cursor"

    def signal(self, number):
        os.kill(self.pid, number)

    def exit_code(self):
        """`None` while the program runs."""
        code = self.ended.read_text() if self.ended.exists() else ""
        return int(code) if code else None

    def vanish(self):
        """Ends the terminal under its program."""
        self._do("kill-server")

    def end(self):
        with contextlib.suppress(AssertionError):
            print("--- terminal", self.screen().text, sep="\n")
            self.vanish()
        if self.pid and self.exit_code() is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)

    def _flags(self):
        return self.ask("#{alternate_on} #{cursor_flag}")

    def _do(self, *args):
        done = subprocess.run(
            [*self.tmux, *args], env=self.env, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, f"{args}: {done.stderr}"
        return done.stdout


def painted(capture):
    """The characters of each row with the colours before and behind them, of the 256."""
    colors = {"38": None, "48": None}
    for line in capture.splitlines():
        row = []
        for at, part in enumerate(PAINT.split(line)):
            if at % 2 == 0:
                row += [(character, *colors.values()) for character in part]
            elif part.startswith(("38;5;", "48;5;")):
                colors[part[:2]] = part[5:]
            elif part in ("", "0"):
                colors = dict.fromkeys(colors)
        yield row


def columns(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
