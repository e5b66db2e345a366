"""For testing: your lifecycle code with no key, network or waiting, and your backend against the contract.

`ScriptedConfig` is the configuration of a fake remote service that does what you tell it, `ScriptedService` that
service seen from outside, `FakeClock` time that passes at once. `FakeOpenAI` and its like are fakes of services,
over real sockets; each is loaded when it is asked for. The contract that every backend keeps is in
`adaptkit.testing.contract`.

```python
service = ScriptedService()
client = Client(targets={"t": ScriptedConfig(service=service.name)}, home=tmp_path, clock=FakeClock())
service.next("submit", "lost")
job = client.submit("t", data)
assert service.jobs_per_tag() == {service.jobs()[0].tag: 1}
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adaptkit.testing.clock import FakeClock, HastyClock
from adaptkit.testing.remote import RemoteDeployment, RemoteJob
from adaptkit.testing.scripted import ScriptedAdapter, ScriptedConfig, ScriptedDeploy
from adaptkit.testing.service import FaultName, RequestKind, ScriptedService

if TYPE_CHECKING:
    from adaptkit.testing.anthropic import FakeAnthropic
    from adaptkit.testing.bedrock import FakeBedrock
    from adaptkit.testing.fireworks import FakeFireworks
    from adaptkit.testing.mistral_chat import FakeMistral
    from adaptkit.testing.mistral_jobs import FakeMistralJobs
    from adaptkit.testing.openai import FakeOpenAI
    from adaptkit.testing.openai_chat import FakeOpenAIChat
    from adaptkit.testing.together import FakeTogether

__all__ = [
    "FakeAnthropic",
    "FakeBedrock",
    "FakeClock",
    "FakeFireworks",
    "FakeMistral",
    "FakeMistralJobs",
    "FakeOpenAI",
    "FakeOpenAIChat",
    "FakeTogether",
    "FaultName",
    "HastyClock",
    "RemoteDeployment",
    "RemoteJob",
    "RequestKind",
    "ScriptedAdapter",
    "ScriptedConfig",
    "ScriptedDeploy",
    "ScriptedService",
]

#: Fakes by the module that each lies in.
_FAKES = {
    "FakeAnthropic": "adaptkit.testing.anthropic",
    "FakeBedrock": "adaptkit.testing.bedrock",
    "FakeFireworks": "adaptkit.testing.fireworks",
    "FakeMistral": "adaptkit.testing.mistral_chat",
    "FakeMistralJobs": "adaptkit.testing.mistral_jobs",
    "FakeOpenAI": "adaptkit.testing.openai",
    "FakeOpenAIChat": "adaptkit.testing.openai_chat",
    "FakeTogether": "adaptkit.testing.together",
}


def __getattr__(name: str) -> Any:
    if name in _FAKES:
        return getattr(import_module(_FAKES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
