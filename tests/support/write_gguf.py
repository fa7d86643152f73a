"""A GGUF file of a Llama checkpoint, in 32-bit numbers, for llama.cpp's server.

Run it with the Python of the environment that holds gguf: FOLDER OUT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTER = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}


def write(folder: Path, out: Path) -> None:
    """Write the file; the tokenizer in it is named, and never used: prompts are token ids."""
    import gguf  # type: ignore[import-not-found]
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads, width = config["num_attention_heads"], config["head_dim"]
    writer: Any = gguf.GGUFWriter(str(out), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokens(writer, gguf, folder, config)
    for name, values in load_file(folder / "model.safetensors").items():
        tensor = values.astype(np.float32)
        *place, part, _ = name.removeprefix("model.").split(".")
        if not place:
            title = _OUTER[part]
        else:
            title = f"blk.{place[1]}.{_NAMES['.'.join([*place[2:], part])]}"
        if part in ("q_proj", "k_proj"):  # its rotary halves are interleaved
            halves = tensor.reshape(-1, 2, width // 2, tensor.shape[1])
            tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(f"{title}.weight", np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any, gguf: Any, folder: Path, config: dict[str, Any]) -> None:
    said = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    size = config["vocab_size"]
    tokens = [f"<unused{i}>" for i in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for text, token in said["model"]["vocab"].items():
        tokens[token], types[token] = text, gguf.TokenType.NORMAL
    for added in said["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], gguf.TokenType.CONTROL
    merges = said["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
