"""The real agents: how each is told of the stand-in model, how it is started, interrupted and left."""
import glob, json, os
from world import AGENTS, Terminal


class Client:
    shell = ("bash", {"command": "sleep 8", "description": "waits"})
    leave = "/exit"
    # Whether what waits in an interrupted turn comes by itself afterwards, or with the next prompt.
    comes_again = True

    def __init__(self, world, name):
        self.world, self.name, self.folder = world, name, world.folder("work", name)
        self.prepare()

    def prepare(self):
        pass

    def argv(self):
        return self.command

    def start(self, *arguments):
        environment = self.world.environment(**self.variables())
        self.terminal = Terminal(self.world, self.name, [*self.argv(), *arguments], environment, self.folder)
        return self

    def interrupt(self):
        self.terminal.keys("Escape")

    def type(self, text):
        self.terminal.type(text)


class Opencode(Client):
    agent = "opencode"
    command = [AGENTS + "/opencode/node_modules/opencode-ai/bin/opencode.exe"]
    comes_again = False

    def variables(self):
        model = {"npm": "@ai-sdk/openai-compatible", "name": "Stand-in", "options": {"baseURL": self.world.model.url(self.name), "apiKey": "none"},
                 "models": {"one": {"name": "One", "tool_call": True, "limit": {"context": 200000, "output": 8000}}}}
        config = {"model": "standin/one", "small_model": "standin/one", "autoupdate": False, "share": "disabled", "provider": {"standin": model},
                  "permission": {"bash": {"*": "allow", "touch *": "ask"}}}
        return {"OPENCODE_CONFIG_CONTENT": json.dumps(config), "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}

    def interrupt(self):
        self.terminal.keys("Escape", "Escape")


class Pi(Client):
    agent = "pi"
    command = [AGENTS + "/pi/node_modules/node/bin/node", AGENTS + "/pi/node_modules/@earendil-works/pi-coding-agent/dist/cli.js"]
    shell = ("bash", {"command": "sleep 8"})
    leave = "/quit"

    def prepare(self):
        directory = self.world.folder("home", ".pi", "agent")
        path = directory + "/models.json"
        known = json.load(open(path)) if os.path.exists(path) else {"providers": {}}
        model = {"id": "one", "name": "one", "contextWindow": 200000, "maxTokens": 8000}
        known["providers"][self.name] = {"baseUrl": self.world.model.url(self.name), "api": "openai-completions", "apiKey": "none", "models": [model]}
        json.dump(known, open(path, "w"))

    def argv(self):
        return [*self.command, "--provider", self.name, "--model", "one"]

    def variables(self):
        return {"PI_OFFLINE": "1", "PI_TELEMETRY": "0", "PI_SKIP_VERSION_CHECK": "1"}


class Copilot(Client):
    agent = "copilot"
    command = glob.glob(AGENTS + "/copilot/node_modules/@github/copilot-*/copilot")[:1]

    def prepare(self):
        path = self.world.folder("home", ".copilot") + "/config.json"
        trusted = json.load(open(path))["trusted_folders"] if os.path.exists(path) else []
        json.dump({"trusted_folders": [*trusted, os.path.realpath(self.folder)]}, open(path, "w"))

    def argv(self):
        return [*self.command, "--allow-tool", "shell(sleep:*)"]

    def variables(self):
        return {"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false", "COPILOT_PROVIDER_BASE_URL": self.world.model.url(self.name),
                "COPILOT_PROVIDER_API_KEY": "none", "COPILOT_PROVIDER_WIRE_API": "completions", "COPILOT_MODEL": "gpt-5.4"}


CLIENTS = {client.agent: client for client in (Opencode, Pi, Copilot)}
