"""An application of your own whose callers may start one run template, and nothing else.

Publish the template, choose a key, start the application:

    penstock pipeline create-run-template examples/training/pipeline.py:training_pipeline --name daily-retraining
    PIPELINE_API_KEY=$(openssl rand -hex 24) uvicorn examples.embedding.app:app --port 8000

Then call it:

    curl -X POST localhost:8000/pipelines/templates/daily-retraining/runs -H "X-API-Key: $PIPELINE_API_KEY" \
        -H 'Content-Type: application/json' -H 'Prefer: wait=60' -d '{"parameters": {"model_type": "logistic"}}'
"""

from __future__ import annotations

import os

from fastapi import FastAPI

from penstock.fastapi import trigger_router

app = FastAPI(title="Our application")
app.include_router(trigger_router(["daily-retraining"], api_keys=os.environ["PIPELINE_API_KEY"]), prefix="/pipelines")


@app.get("/")
def home() -> dict[str, str]:
    """A page of the application itself."""
    return {"pipelines": "/pipelines/templates", "documentation": "/docs"}
