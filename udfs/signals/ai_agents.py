"""Product tokens of crawlers that collect data to train models, for a policy that treats us as one of them.

A site owner who closes a URL to GPTBot and CCBot, and has never heard of us, most likely means us too. Whether
to read it so is for a policy to decide (``ai_agent_proxy``). Agents that fetch for search results or at a
person's request (OAI-SearchBot, ChatGPT-User, Googlebot, Applebot, Bingbot, Claude-User, PerplexityBot,
PetalBot …) are left out: closing a site to them says nothing about training.
"""

from __future__ import annotations

AS_OF = "2026-11-22"
"""The day on which this list was last revised."""

TRAINING_AGENTS = (
    "AI2Bot",  # Allen Institute: open training data
    "Ai2Bot-Dolma",
    "Amazonbot",  # Amazon: says it may train on what it fetches
    "anthropic-ai",  # Anthropic, retired, but many files still hold it
    "Applebot-Extended",  # Apple: a control token, training only
    "Brightbot",  # Bright Data: training data
    "Bytespider",  # ByteDance
    "CCBot",  # Common Crawl: what most training sets are made from
    "ChatGLM-Spider",
    "Claude-Web",  # Anthropic, retired
    "ClaudeBot",  # Anthropic: training
    "cohere-ai",
    "cohere-training-data-crawler",
    "Cotoyogi",  # ROIS, Japan: language models
    "DeepSeekBot",
    "Diffbot",  # structured data, sold for training
    "FacebookBot",  # Meta: speech models
    "FriendlyCrawler",  # data sets for machine learning
    "Google-Extended",  # Google: a control token, training only
    "GPTBot",  # OpenAI: training
    "ICC-Crawler",  # NICT, Japan: translation models
    "img2dataset",  # image-text sets
    "laion-huggingface-processor",
    "LAIONDownloader",
    "Meta-ExternalAgent",  # Meta: training
    "omgili",  # Webz.io: data sold for training
    "omgilibot",
    "PanguBot",  # Huawei: language models
    "SBIntuitionsBot",  # SB Intuitions, Japan: language models
    "TikTokSpider",  # ByteDance
    "Timpibot",  # index sold for training
    "Webzio-Extended",  # Webz.io: a control token for training
    "xAI-Bot",
)
