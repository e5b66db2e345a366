"""Amazon Bedrock's model customization: data in S3, a job of the account, a model that answers once deployed."""

from adaptkit.backends.bedrock.adapter import BedrockAdapter
from adaptkit.backends.bedrock.config import BedrockConfig

__all__ = ["BedrockAdapter", "BedrockConfig"]
