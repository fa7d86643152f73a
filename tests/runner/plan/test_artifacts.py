"""Whoever renders prompts needs no folder of weights; whoever needs one is told plainly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from running import Study

from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.plan.artifacts import NoCheckpointFolderError
from safety_receipts.runner.plan.runnable import check_runnable
from safety_receipts.runner.plan.sealed import digest_of, renderer_of
from safety_receipts.runner.present.judged import judged_document
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.counting import render_plan
from safety_receipts.runner.run.stack import load_stack
from safety_receipts.verify.levels.rederive import ResponseDecoder


def test_prompts_are_made_of_texts_alone(study: Study) -> None:
    resolved = study()
    elsewhere = replace(resolved, artifacts=replace(resolved.artifacts, local=None))
    here, there = (
        render_plan(renderer_of(each, None), lambda _, __: None) for each in (resolved, elsewhere)
    )
    assert [point.prompt for point in there.points] == [point.prompt for point in here.points]
    assert there.counts == here.counts
    assert judged_document(elsewhere) == judged_document(resolved)
    seed = event_seed(digest_of(resolved.predicate), None)
    alone = Renderer(resolved.predicate, resolved.artifacts.texts, seed)
    assert alone.render(0).prompt == here.points[0].prompt


def test_what_needs_the_checkpoint_says_that_it_is_not_here(study: Study) -> None:
    resolved = study()
    assert resolved.artifacts.checkpoint is resolved.artifacts.local
    elsewhere = replace(resolved, artifacts=replace(resolved.artifacts, local=None))
    for needs in (
        lambda: load_stack(elsewhere, device="cpu"),
        lambda: check_runnable(elsewhere, "cpu"),
        lambda: ResponseDecoder(elsewhere.predicate, elsewhere.artifacts),
    ):
        with pytest.raises(NoCheckpointFolderError, match="not on this machine") as raised:
            needs()
        assert isinstance(raised.value, UsageError)
        assert "checkpoint: {path: …}" in raised.value.one_line()
