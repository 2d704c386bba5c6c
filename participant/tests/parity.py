"""Makes checkpoints and adapters with transformers and PEFT, and says what they compute.

    parity.py make DIR KIND   a checkpoint, its adapter, data, and the expected numbers (expected.json)
    parity.py load DIR        logits of an adapter that chancery wrote to DIR/ours (printed as JSON)
"""
import json, os, sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = [[1, 17, 33, 250, 90, 12, 5, 77, 31, 200], [1, 8, 250, 3, 9, 100, 44, 45, 46, 47]]


def make(folder, kind):
    torch.manual_seed(0)
    shape = dict(vocab_size=1024, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=4, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
                 initializer_range=0.2)
    if kind == "other":
        shape.update(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
                     tie_word_embeddings=False, rope_theta=5000.0, max_position_embeddings=8192,
                     rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                       original_max_position_embeddings=64))
    model = LlamaForCausalLM(LlamaConfig(**shape))
    if kind == "other":
        model = model.to(torch.bfloat16)
        model.save_pretrained(folder, max_shard_size="200KB")
    else:
        model.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM", lora_dropout=0.0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(os.path.join(folder, "adapter"))
    ids = torch.tensor(IDS)
    labels = ids.clone()
    labels[:, :6] = -100
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    clean = lambda n: n.replace(".default", "")
    gradients = {clean(n): p.grad.flatten().tolist() for n, p in trained.items()}
    torch.optim.AdamW(trained.values(), lr=1e-3, weight_decay=0.01).step()
    stepped = {clean(n): p.detach().flatten().tolist() for n, p in trained.items()}
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump(dict(ids=IDS, logits=out.logits.detach().flatten().tolist(), loss=out.loss.item(), gradients=gradients, stepped=stepped), f)


def load(folder):
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, os.path.join(folder, "ours"))
    with torch.no_grad():
        print(json.dumps(model(input_ids=torch.tensor(IDS)).logits.flatten().tolist()))


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](*sys.argv[2:])
