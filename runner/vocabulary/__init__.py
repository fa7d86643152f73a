"""What a tokenizer may do to text: texts and contents follow from its vocabulary alone.

A tokenizer's file is a program of sorts: a decoder can replace answers, a normaliser can rewrite
what a prompt shows.  So its components are held to a closed list (:mod:`.components`), the text of
ids is worked out from the vocabulary's entries (:mod:`.token_texts`), and every text that was read
into ids must come back from them (:mod:`.contents`).
"""
