//! The channel as an MCP client sees it: tools, events, words for models, and how it starts and leaves.

mod conversation;
mod mcp;
mod model_prompts;
mod peer_text;
mod reconnect;
mod refusals;
mod shutdown;
mod telling;
mod without_hub;
