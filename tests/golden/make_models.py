"""Tiny random checkpoints of families and options that have no golden elsewhere, with what Transformers and PEFT make of them.

    python3 tests/golden/make_models.py tests/golden/models

Made with Python 3.11, torch 2.13.0, transformers 5.23.0, peft 0.21.2; float32 on the CPU, eager attention, no dropout; case i has seed 100 + i. A folder per case:

    model/                 config.json and model.safetensors as Transformers writes them, weights in bfloat16 but for Gemma's
    config_v4.json         the same configuration in the words of Transformers 4, where they differ by more than a name
    adapter/               a PEFT LoRA adapter (r 2, alpha 4), random A and B, on all linear maps of the blocks
    expected.safetensors   ids [2,33], labels [2,33] (-100 = not supervised), logits and loss of the base, logits_adapter and loss_adapter with the adapter
                           (loss: mean over supervised tokens), grad.<PEFT name> of loss_adapter for every A and B
"""
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA_MAPS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MAPS = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], "starcoder2": ["q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"]}
SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def rope(kind, theta=10000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


# Rows are 33 tokens long: beyond an original length of 16, within one of 64.
LONG = dict(short_factor=[1.0, 1.1, 1.3], long_factor=[1.0, 2.5, 6.0])
CASES = {
    "llama1": dict(model_type="llama", **{**SMALL, "num_key_value_heads": 4}, tie_word_embeddings=False),
    "llama_bias": dict(model_type="llama", **SMALL, attention_bias=True, mlp_bias=True),
    "llama_linear": dict(model_type="llama", **SMALL, rope_parameters=rope("linear", factor=4.0)),
    "llama_dynamic_within": dict(model_type="llama", **{**SMALL, "max_position_embeddings": 64}, rope_parameters=rope("dynamic", factor=4.0)),
    "llama_dynamic_beyond": dict(model_type="llama", **{**SMALL, "max_position_embeddings": 16}, rope_parameters=rope("dynamic", factor=4.0)),
    "llama_yarn": dict(model_type="llama", **SMALL, rope_parameters=rope("yarn", factor=8.0, original_max_position_embeddings=16)),
    "qwen2_yarn_factors": dict(model_type="qwen2", **SMALL, rope_parameters=rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=32, beta_fast=16.0,
                                                                              beta_slow=2.0, attention_factor=1.25)),
    "qwen2_window": dict(model_type="qwen2", **{**SMALL, "num_hidden_layers": 3}, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "qwen3_wide_heads": dict(model_type="qwen3", **SMALL, head_dim=24, attention_bias=True),
    "mistral_wide_heads": dict(model_type="mistral", **SMALL, head_dim=24, sliding_window=None, tie_word_embeddings=False),
    "gemma2_no_caps": dict(model_type="gemma2", **SMALL, head_dim=8, sliding_window=8, query_pre_attn_scalar=20, attn_logit_softcapping=None,
                           final_logit_softcapping=None),
    "gemma3_pattern": dict(model_type="gemma3_text", **{**SMALL, "num_hidden_layers": 3}, head_dim=8, sliding_window=8, query_pre_attn_scalar=8,
                           attn_logit_softcapping=2.0, final_logit_softcapping=5.0,
                           layer_types=["full_attention", "sliding_attention", "full_attention"],
                           rope_parameters=dict(full_attention=rope("linear", 1e6, factor=8.0), sliding_attention=rope("default"))),
    "phi3_short": dict(model_type="phi3", **SMALL, tie_word_embeddings=False, original_max_position_embeddings=64, sliding_window=None,
                       rope_parameters=rope("longrope", partial_rotary_factor=0.75, original_max_position_embeddings=64, **LONG)),
    "phi3_long": dict(model_type="phi3", **SMALL, tie_word_embeddings=True, original_max_position_embeddings=16, sliding_window=20,
                      rope_parameters=rope("longrope", partial_rotary_factor=0.75, original_max_position_embeddings=16, **LONG)),
    "smollm3_pattern": dict(model_type="smollm3", **{**SMALL, "num_hidden_layers": 3}, no_rope_layers=[1, 1, 0]),
    "granite": dict(model_type="granite", **SMALL, embedding_multiplier=6.0, residual_multiplier=0.4, attention_multiplier=0.2, logits_scaling=3.0),
    "starcoder2": dict(model_type="starcoder2", **{**SMALL, "num_hidden_layers": 2}, sliding_window=12, use_bias=True, residual_dropout=0.0, embedding_dropout=0.0),
}


def older_words(config):
    """config.json as Transformers 4 wrote it."""
    c = dict(config)
    parameters = c.pop("rope_parameters", None) or {}
    if "full_attention" in parameters:
        whole, local = parameters["full_attention"], parameters["sliding_attention"]
        c["rope_theta"], c["rope_local_base_freq"] = whole["rope_theta"], local["rope_theta"]
        scaling = {k: v for k, v in whole.items() if k != "rope_theta"}
    else:
        c["rope_theta"] = parameters.get("rope_theta")
        scaling = {k: v for k, v in parameters.items() if k not in ("rope_theta", "partial_rotary_factor")}
        if "partial_rotary_factor" in parameters:
            c["partial_rotary_factor"] = parameters["partial_rotary_factor"]
        if scaling.get("rope_type") == "longrope":
            c["original_max_position_embeddings"] = scaling.pop("original_max_position_embeddings")
            scaling["type"] = scaling.pop("rope_type")
    c["rope_scaling"] = None if scaling.get("rope_type", "") == "default" else scaling
    c["torch_dtype"] = c.pop("dtype", "float32")
    c["transformers_version"] = "4.44.0"
    return c


def loss_of(model, ids, labels):
    logits = model(input_ids=ids).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100), logits


def make(folder, settings, seed):
    case = folder.name
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**settings)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():  # nothing is left at a value at which it would not matter
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.5 if "embed" in name else 0.7 / p.shape[-1] ** 0.5))
    if "gemma" not in case:  # files half as large; the numbers are float32 on the rounded weights
        for p in model.parameters():  # and not the buffers, which would round the rotary frequencies
            p.data = p.data.to(torch.bfloat16)
        model.config.dtype = torch.bfloat16
        model.save_pretrained(folder / "model")
        for p in model.parameters():
            p.data = p.data.float()
    else:
        model.save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "model" / "config.json").read_text())
    (folder / "config_v4.json").write_text(json.dumps(older_words(written), indent=1) + "\n")

    ids = torch.randint(3, settings["vocab_size"], (2, 33))
    labels = ids.clone()
    labels[0, :9] = -100
    labels[1, :17] = -100
    labels[1, 29:] = -100
    with torch.no_grad():
        loss, logits = loss_of(model, ids, labels)
    found = {"ids": ids, "labels": labels, "loss": loss.reshape(1), "logits": logits.contiguous()}

    torch.manual_seed(seed + 1000)
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=MAPS.get(settings["model_type"], LLAMA_MAPS), task_type="CAUSAL_LM")).eval()
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p.copy_(0.2 * torch.randn_like(p))
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    loss, logits = loss_of(adapted, ids, labels)
    loss.backward()
    found["loss_adapter"], found["logits_adapter"] = loss.detach().reshape(1), logits.detach().contiguous()
    for name, p in adapted.named_parameters():
        if "lora_" in name:
            found["grad." + name.replace(".default", "")] = p.grad.contiguous()
    save_file(found, folder / "expected.safetensors")
    return loss.item()


def main():
    out = Path(sys.argv[1])
    for number, (name, settings) in enumerate(CASES.items()):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{name}: loss with the adapter {make(folder, settings, 100 + number):.4f}")


if __name__ == "__main__":
    main()
