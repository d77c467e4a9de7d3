"""One module for each step: read records, call the plugin, check and write what came out.

A module's ``run`` takes a task, the outcomes that it reads and a folder to write into, and returns a
:class:`~qperf_app.workflow.outcomes.StepResult`.
"""
