"""From logits to tokens: sampling, noise, repetition penalty, drafts."""
