"""What SGLang takes and gives, from the source of 0.5.23, over what vLLM takes and gives.

No such server runs in the tests.  Requests are read and replies are shaped as the files named below
do it, with what surprises there: ends that are passed over, a first token without a
log-probability, an id that is another.
"""

from __future__ import annotations

from typing import Any

Answer = dict[str, Any]

# sglang 0.5.23, srt/managers/io_struct.py: fields of GenerateReqInput, as far as they speak of
# text; api/v1/api_types.py (GenerateRequest) passes over others in silence.
REQUEST_FIELDS = frozenset(
    {
        "rid",
        "text",
        "input_ids",
        "sampling_params",
        "return_logprob",
        "logprob_start_len",
        "top_logprobs_num",
        "token_ids_logprob",
        "return_text_in_logprobs",
        "stream",
        "return_hidden_states",
        "lora_path",
        "custom_logit_processor",
        "return_prompt_token_ids",
    }
)
# sglang 0.5.23, srt/sampling/sampling_params.py: fields of SamplingParams that callers set; one
# that is none of these is refused (api/v1/api_types.py).
SAMPLING_FIELDS = frozenset(
    {
        "max_new_tokens",
        "stop",
        "stop_token_ids",
        "stop_regex",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "min_new_tokens",
        "n",
        "beam_width",
        "json_schema",
        "regex",
        "ebnf",
        "structural_tag",
        "ignore_eos",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "no_stop_trim",
        "stream_interval",
        "logit_bias",
        "sampling_seed",
        "custom_params",
        "watermark",
    }
)


def sglang_problem(body: Answer) -> str | None:
    """Return why a request is refused, or None."""
    sampling = body["sampling_params"]
    unknown = next((name for name in sampling if name not in SAMPLING_FIELDS), None)
    if unknown is not None:
        return f"unknown field `{unknown}`"
    if sampling["top_k"] < 1 and sampling["top_k"] != -1:
        return f"top_k must be -1 (disable) or at least 1, got {sampling['top_k']}."
    return None


def from_sglang(body: Answer) -> Answer:
    """Return what vLLM is asked where SGLang is asked this."""
    sampling = body["sampling_params"]
    asked = {
        "prompt": body["input_ids"],
        "max_tokens": sampling["max_new_tokens"],
        "temperature": sampling["temperature"],
        "top_p": sampling["top_p"],
        "top_k": sampling["top_k"],
        "repetition_penalty": sampling["repetition_penalty"],
        # schedule_batch.py, _check_token_based_finish: then no token ends a response.
        "stop_token_ids": [] if sampling["ignore_eos"] else sampling["stop_token_ids"],
        "prompt_logprobs": body["logprob_start_len"] >= 0,
    }
    if sampling.get("sampling_seed") is not None:
        asked["seed"] = sampling["sampling_seed"]
    return asked


def to_sglang(body: Answer, reply: Answer, vocabulary: int) -> Answer:
    """Return what SGLang answers where vLLM answers this."""
    [choice] = reply["choices"]
    tokens, logprobs = choice["token_ids"], choice["logprobs"]
    stopped = choice["finish_reason"] == "stop"
    finish = (
        {"type": "stop", "matched": tokens[-1]}
        if stopped
        else {"type": "length", "length": len(tokens)}
    )
    own = zip(logprobs["token_logprobs"], tokens, strict=True)
    says = {
        "id": "0",
        "finish_reason": finish,
        "prompt_tokens": reply["usage"]["prompt_tokens"],
        "completion_tokens": reply["usage"]["completion_tokens"],
        "cached_tokens": 0,
        "weight_version": "default",
        "input_token_logprobs": [],
        "output_token_logprobs": [[value, token, None] for value, token in own],
        "output_token_logprobs_length": len(tokens),
    }
    if body["top_logprobs_num"]:
        # model_runner.py, sample: after penalties, so that a greedy token is always the likeliest.
        tops = [[max(top.values()), 0, None] for top in logprobs["top_logprobs"]]
        drawn = body["sampling_params"]["temperature"] > 0
        says["output_top_logprobs"] = [
            [entry] for entry in (tops if drawn else says["output_token_logprobs"])
        ]
    if choice["prompt_logprobs"] is not None:
        says |= _of_prompt(body, choice["prompt_logprobs"], vocabulary)
    return {
        "text": "",
        "output_ids": tokens,
        "prompt_token_ids": choice["prompt_token_ids"],
        "meta_info": says,
    }


def _of_prompt(body: Answer, places: list[Answer | None], vocabulary: int) -> Answer:
    """Return log-probabilities of a prompt (logprob_result_processor.py)."""
    start = body["logprob_start_len"]
    tokens = body["input_ids"][start:]
    own: list[list[Any]] = []
    tops: list[list[list[Any]] | None] = []
    for number, (token, place) in enumerate(zip(tokens, places[start:], strict=True)):
        named = token if token < vocabulary - 1 else 0
        if number == 0 or place is None:
            own.append([None, named, None])
            tops.append(None)
            continue
        own.append([place[str(token)]["logprob"], named, None])
        tops.append([[max(each["logprob"] for each in place.values()), 0, None]])
    return {"input_token_logprobs": own, "input_top_logprobs": tops}


def sglang_says(path: str, model: str, context: int) -> Answer | None:
    """Return what it says of itself at an address (entrypoints/http_server.py), or None."""
    if path == "/model_info":
        return {
            "model_path": "/srv/model",
            "served_model_name": model,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": "default",
        }
    if path == "/server_info":
        return {"version": "0.5.23", "frontend": "python", "internal_states": []}
    if path == "/v1/models":
        return {"data": [{"id": model, "root": model, "max_model_len": context}]}
    return None
