"""Compiling a chat template in the sandbox in which deployments run it."""

from __future__ import annotations

from pathlib import Path

import jinja2

# Not public, and the only way to the sandbox in which deployments run templates: what takes
# variables by name does not take a clock.
from transformers.utils.chat_template_utils import _compile_jinja_template

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.runner.templates.bounded import OutOfTimeError
from safety_receipts.runner.templates.chat_template import bounds_here


def compiled_template(folder: Path, source: str) -> jinja2.Template:
    """Return a template, compiled.

    Args:
        folder: The model's folder, for errors.
        source: The template's text.

    Raises:
        MalformedError: It is no template, or too large to compile.
    """
    try:
        # Compiling works out what is constant, however large.
        with bounds_here():
            template: jinja2.Template = _compile_jinja_template(source)
    except jinja2.TemplateSyntaxError as error:
        raise MalformedError(
            f"the chat template is not a valid template: {error.message}",
            file=folder,
            place=f"line {error.lineno} of the template",
        ) from None
    except SyntaxError as error:  # Python's own: a break or continue outside of a loop
        raise MalformedError(
            f"the chat template is not a valid template: {error.msg}", file=folder
        ) from None
    except RecursionError:
        raise MalformedError("the chat template is nested too deeply", file=folder) from None
    except (OutOfTimeError, MemoryError):
        raise MalformedError("the chat template is too large to compile", file=folder) from None
    return template
