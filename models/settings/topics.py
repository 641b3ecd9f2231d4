"""``[topics]``: the names of all topics."""

from models.settings.section import Section, TopicName


class TopicSettings(Section):
    """Names of the topics; "stream/messages" in ARCHITECTURE.md describes their messages."""

    requests: TopicName = "bid-requests"
    passed: TopicName = "bid-requests-passed"
    blocked: TopicName = "bid-requests-blocked"
    rejected: TopicName = "bid-requests-rejected"
    outcomes: TopicName = "outcomes"
    examples: TopicName = "training-examples"
    models: TopicName = "models"
    control: TopicName = "control"
    consumption: TopicName = "consumption"
    rate_state: TopicName = "rate-state"
    journal: TopicName = "decision-journal"
    rate_summaries: TopicName = "rate-summaries"
