"""A small client for a language server over stdio: enough to open a text and ask what an editor asks."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path("yaml-language-server") / "bin" / "yaml-language-server"
SETTINGS = {
    "yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
}


def find_server() -> tuple[list[str] | None, str]:
    """The command that starts the server, or None and the reason."""
    node = shutil.which("node")
    if node is None:
        return None, "node is not installed"
    modules = os.environ.get("SPECRUN_YLS", str(ROOT / ".tools" / "yls" / "node_modules"))
    script = Path(modules) / SERVER
    if not script.is_file():
        return None, "yaml-language-server is not installed (set SPECRUN_YLS to its node_modules)"
    return [node, str(script), "--stdio"], ""


class Client:
    """One running server."""

    def __init__(self, command: list[str], folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.number = 0
        self.diagnosed: dict[str, list[dict[str, Any]]] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": folder.as_uri(),
                "capabilities": {
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True}},
                        "hover": {"contentFormat": ["markdown"]},
                    },
                    "workspace": {"configuration": True},
                },
            },
        )
        self.notify("initialized", {})
        self.notify("workspace/didChangeConfiguration", {"settings": SETTINGS})

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def open(self, name: str, text: str) -> Document:
        """Open a text as if from a file of the client's folder, and wait for its diagnostics."""
        uri = (self.folder / name).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.diagnosed.pop(uri, None)
        self.notify("textDocument/didOpen", {"textDocument": document})
        self._until(lambda: uri in self.diagnosed)
        return Document(self, uri, text, self.diagnosed[uri])

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def request(self, method: str, params: dict[str, Any]) -> Any:
        self.number += 1
        number = self.number
        self._send({"id": number, "method": method, "params": params})
        answer: list[Any] = []

        def answered() -> bool:
            return bool(answer)

        self._until(answered, number, answer)
        return answer[0]

    def _until(self, done: Any, number: int | None = None, answer: list[Any] | None = None) -> None:
        while not done():
            message = self.messages.get(timeout=60)
            if message.get("method") == "textDocument/publishDiagnostics":
                self.diagnosed[message["params"]["uri"]] = message["params"]["diagnostics"]
            elif "method" in message and "id" in message:
                self._answer(message)
            elif message.get("id") == number and answer is not None:
                answer.append(message.get("result"))

    def _answer(self, message: dict[str, Any]) -> None:
        result: Any = None
        if message["method"] == "workspace/configuration":
            result = [SETTINGS.get(i.get("section"), {}) for i in message["params"]["items"]]
        self._send({"id": message["id"], "result": result})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def _listen(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while True:
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not length:
                return
            self.messages.put(json.loads(stream.read(length)))


class Document:
    """An open text."""

    def __init__(self, client: Client, uri: str, text: str, problems: list[dict[str, Any]]):
        self.client = client
        self.uri = uri
        self.text = text
        self.problems = problems

    def messages(self) -> list[tuple[int, str]]:
        """Line (from 1) and message of each problem."""
        return sorted((p["range"]["start"]["line"] + 1, p["message"]) for p in self.problems)

    def complete(self, line: int, column: int) -> list[dict[str, Any]]:
        """The completions at a place (from 1)."""
        result = self.client.request("textDocument/completion", self._at(line, column))
        return result["items"] if isinstance(result, dict) else result or []

    def hover(self, line: int, column: int) -> str:
        result = self.client.request("textDocument/hover", self._at(line, column))
        return result["contents"]["value"] if result else ""

    def _at(self, line: int, column: int) -> dict[str, Any]:
        position = {"line": line - 1, "character": column - 1}
        return {"textDocument": {"uri": self.uri}, "position": position}
