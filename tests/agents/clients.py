"""The real agents: how each is told of the stand-in model, how it is started, interrupted and left."""
import glob, json, os, subprocess, time
from world import AGENTS, Terminal


class Client:
    shell = ("bash", {"command": "sleep 8", "description": "waits"})
    leave = "/exit"
    # What it must ask its user for, and whether it says that it stands at a dialog.
    dialog, tells_dialog = ("bash", {"command": "touch new", "description": "makes a file"}), True
    # How often Esc is pressed to interrupt it.
    escapes = 1
    # How its user renames a session, where that is followed.
    rename = None
    # What its sessions say of themselves when they can be asked.
    wakes_by, status = "plugin", "idle"
    listed_as = None
    # What an asker may be told whose session was killed right after its model was shown the question.
    known_by_then = ["was shown"]
    # Whether a session ends with its terminal.
    ends_with_terminal = True
    # Whether a message starts a turn; else it comes in one that its user starts.
    is_woken = True
    # Whether the agent itself begins a turn again that a message began and its user interrupts.
    begins_again = False
    # Whether what waits in an interrupted turn comes by itself afterwards, or with the next prompt.
    comes_again = True

    def __init__(self, world, name):
        self.world, self.name, self.folder = world, name, world.folder("work", name)
        # When its user pressed Esc.
        self.interrupted = []
        self.prepare()

    def prepare(self):
        pass

    def argv(self):
        return self.command

    def start(self, *arguments):
        environment = self.world.environment(**self.variables())
        self.world.at_the_end.append(self.end)
        self.terminal = Terminal(self.world, self.name, [*self.argv(), *arguments], environment, self.folder)
        return self

    def interrupt(self):
        self.interrupted.append(time.time())
        for _ in range(self.escapes):
            self.terminal.keys("Escape")
            time.sleep(0.3)

    def clear(self):
        """Empties the line: what was interrupted may be back in it."""
        self.terminal.keys("C-u")
        time.sleep(0.3)

    def work(self):
        """Has it do something for a while."""
        self.call(*self.shell)

    def nudge(self, is_asked=True):
        """Its user types something, where a message starts no turn: once somebody has asked it."""
        if self.is_woken:
            return
        end = time.time() + 15
        while is_asked and time.time() < end and not self.world.peers().get(self.name, {}).get("open_asks", {}).get("received"):
            time.sleep(0.2)
        time.sleep(1)
        self.type("go on")

    def end(self):
        """Ends what outlives the terminals."""

    def type(self, text):
        self.terminal.type(text)

    def call(self, tool, arguments):
        """Has the model call a tool."""
        self.type("call %s %s" % (tool, json.dumps(arguments)))


class Opencode(Client):
    agent = "opencode"
    escapes = 2
    command = [AGENTS + "/opencode/node_modules/opencode-ai/bin/opencode.exe"]
    comes_again = False

    def variables(self):
        model = {"npm": "@ai-sdk/openai-compatible", "name": "Stand-in", "options": {"baseURL": self.world.model.url(self.name) + "/v1", "apiKey": "none"},
                 "models": {"one": {"name": "One", "tool_call": True, "limit": {"context": 200000, "output": 8000}}}}
        config = {"model": "standin/one", "small_model": "standin/one", "autoupdate": False, "share": "disabled", "provider": {"standin": model},
                  "permission": {"bash": {"*": "allow", "touch *": "ask"}}}
        return {"OPENCODE_CONFIG_CONTENT": json.dumps(config), "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}



class Pi(Client):
    agent = "pi"
    command = [AGENTS + "/pi/node_modules/node/bin/node", AGENTS + "/pi/node_modules/@earendil-works/pi-coding-agent/dist/cli.js"]
    shell = ("bash", {"command": "sleep 8"})
    dialog = None
    leave, rename = "/quit", "/name %s"

    def prepare(self):
        directory = self.world.folder("home", ".pi", "agent")
        path = directory + "/models.json"
        known = json.load(open(path)) if os.path.exists(path) else {"providers": {}}
        model = {"id": "one", "name": "one", "contextWindow": 200000, "maxTokens": 8000}
        known["providers"][self.name] = {"baseUrl": self.world.model.url(self.name) + "/v1", "api": "openai-completions", "apiKey": "none", "models": [model]}
        json.dump(known, open(path, "w"))

    def argv(self):
        return [*self.command, "--provider", self.name, "--model", "one"]

    def variables(self):
        return {"PI_OFFLINE": "1", "PI_TELEMETRY": "0", "PI_SKIP_VERSION_CHECK": "1"}


class Copilot(Client):
    agent = "copilot"
    escapes = 2
    rename = "/rename %s"
    # Only its answer is a receipt.
    known_by_then = ["was shown", "was delivered"]
    command = glob.glob(AGENTS + "/copilot/node_modules/@github/copilot-*/copilot")[:1]

    def prepare(self):
        path = self.world.folder("home", ".copilot") + "/config.json"
        if not os.path.exists(path):
            json.dump({"trusted_folders": [os.path.realpath(os.path.dirname(self.folder))]}, open(path, "w"))

    def argv(self):
        return [*self.command, "--allow-tool", "shell(sleep:*)"]

    def variables(self):
        return {"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false", "COPILOT_PROVIDER_BASE_URL": self.world.model.url(self.name) + "/v1",
                "COPILOT_PROVIDER_API_KEY": "none", "COPILOT_PROVIDER_WIRE_API": "completions", "COPILOT_MODEL": "gpt-5.4"}


class Codex(Client):
    agent = "codex"
    command = glob.glob(AGENTS + "/codex/node_modules/@openai/codex-*/vendor/*/bin/codex")[:1]
    dialog = ("exec_command", {"cmd": "touch /etc/new", "sandbox_permissions": "require_escalated", "justification": "a file"})
    leave = "/quit"
    wakes_by = "turn"
    # It confirms a message after it has asked its model.
    known_by_then = ["was shown", "was delivered"]
    ends_with_terminal = False

    def prepare(self):
        path = self.world.folder("home", ".codex") + "/config.toml"
        base = 'model = "stand-in"\nmodel_provider = "standin"\ncheck_for_update_on_startup = false\n[analytics]\nenabled = false\n' \
               '[model_providers.standin]\nname = "standin"\nbase_url = "%s"\nwire_api = "responses"\n' % (self.world.model.url("codex") + "/v1")
        config = open(path).read() if os.path.exists(path) else ""
        if "[model_providers.standin]" not in config:
            config = base + config
        with open(path, "w") as file:
            file.write(config + '[projects."%s"]\ntrust_level = "trusted"\n' % os.path.realpath(self.folder))

    def variables(self):
        return {}

    def work(self):
        self.type("slow 8")

    def end(self):
        subprocess.run([*self.command, "app-server", "daemon", "stop"], env=self.world.environment(), capture_output=True, timeout=60)


class Qwen(Client):
    agent = "qwen"
    command = [AGENTS + "/qwen/node_modules/node/bin/node", AGENTS + "/qwen/node_modules/@qwen-code/qwen-code/cli-entry.js"]
    dialog, tells_dialog = ("run_shell_command", {"command": "touch new", "is_background": False}), False
    leave = "/quit"
    listed_as, wakes_by, status = "qwen-code", "inbox", "unknown"
    begins_again = True
    # On a busy machine it writes its transcript seconds later.
    known_by_then = ["was shown", "was delivered"]

    def prepare(self):
        path = self.world.folder("home", ".qwen") + "/settings.json"
        if not os.path.exists(path):
            settings = {"security": {"auth": {"selectedType": "openai"}, "folderTrust": {"enabled": False}}, "general": {"enableAutoUpdate": False},
                        "privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}, "model": {"name": "stand-in"}}
            with open(path, "w") as file:
                json.dump(settings, file)

    def argv(self):
        return [*self.command, "--approval-mode", "default"]

    def variables(self):
        return {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": self.world.model.url(self.name) + "/v1", "OPENAI_MODEL": "stand-in",
                "XDG_RUNTIME_DIR": self.world.folder("run")}

    def work(self):
        self.type("slow 8")


class Claude(Client):
    agent = "claude"
    command = [AGENTS + "/claude/node_modules/@anthropic-ai/claude-code-linux-x64/claude"]
    shell = ("Bash", {"command": "sleep 8", "description": "waits"})
    dialog = ("Bash", {"command": "touch new", "description": "makes a file"})
    listed_as, wakes_by, rename = "claude-code", "waiter", "/rename %s"
    key = "sk-ant-api03-" + "none-" * 18 + "AA"

    def prepare(self):
        # What its first start asks is answered.
        path = self.world.folder("home") + "/.claude.json"
        known = json.load(open(path)) if os.path.exists(path) else {"projects": {}}
        known.update(hasCompletedOnboarding=True, lastOnboardingVersion="99.0.0", theme="dark", numStartups=5,
                     customApiKeyResponses={"approved": [self.key[-20:]], "rejected": []})
        # The folder of all, since a session that runs writes the file again.
        for folder in (self.folder, os.path.dirname(self.folder)):
            known.setdefault("projects", {})[os.path.realpath(folder)] = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        json.dump(known, open(path, "w"))

    def argv(self):
        return [*self.command, "--permission-mode", "default", "--allowedTools", "Bash(sleep:*)"]

    def variables(self):
        return {"ANTHROPIC_BASE_URL": self.world.model.url(self.name), "ANTHROPIC_API_KEY": self.key, "DISABLE_AUTOUPDATER": "1",
                "DISABLE_ERROR_REPORTING": "1", "DISABLE_INSTALLATION_CHECKS": "1", "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1"}


class Gemini(Client):
    agent = "gemini"
    command = ["node", AGENTS + "/gemini/node_modules/@google/gemini-cli/bundle/gemini.js"]
    shell = ("run_shell_command", {"command": "sleep 8"})
    dialog, tells_dialog = ("run_shell_command", {"command": "touch new"}), False
    leave = "/quit"
    listed_as, wakes_by, status = "gemini-cli", "next_prompt", "unknown"
    is_woken = comes_again = False

    def prepare(self):
        path = self.world.folder("home", ".gemini") + "/settings.json"
        if not os.path.exists(path):
            settings = {"security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
                        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
                        "privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}, "ide": {"hasSeenNudge": True},
                        "model": {"name": "gemini-2.5-flash"}, "tools": {"allowed": ["run_shell_command(sleep)"]}}
            json.dump(settings, open(path, "w"))

    def variables(self):
        return {"GEMINI_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": self.world.model.url(self.name), "GEMINI_FORCE_ENCRYPTED_FILE_STORAGE": "true"}


CLIENTS = {client.agent: client for client in (Claude, Codex, Copilot, Gemini, Opencode, Pi, Qwen)}
