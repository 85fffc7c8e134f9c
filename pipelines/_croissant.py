"""``croissant.json``: the release in Croissant 1.0 with the RAI vocabulary, for mlcroissant and dataset search.

Each shard is listed with its size and SHA-256. The records are the samples as the sidecars of the shards give them, with
the shard of each; ``pairs/`` and ``tables/`` are named, so that whoever looks for reasons finds them. Pictures are no
record set: mlcroissant 1.1 unpacks a tar into a cache under a name made of its relative path alone, so that the shards
of another release, or of this one before a takedown, would be read in its stead.

The manifest lists this file and therefore does not appear in it. No time of observation does either, as nowhere in a
release. Sources: https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from ..schemas.release import SIDECAR
from ._datasheet import Datasheet, datasheet, summary, version
from ._release import CROISSANT, FileFact, Release

_PARQUET = "application/x-parquet"
_CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
_LICENCE = (
    "Each picture and caption is under the licence that its sample states, if it states one. The release grants none."
)
_TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
# The context that the specification gives in its appendix 1.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_TYPES = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.int64(): "sc:Integer"}
_FILE_SETS = {
    "sidecars": ("shards/*.parquet", "What the shards hold, one row for each sample"),
    "pairs": ("pairs/*.parquet", "Every pair of the sources, with what became of it and why"),
    "tables": ("tables/*.parquet", "Evidence, image facts, scores, duplicates, rejected rows, rules, shards"),
}


def write(release: Release, manifest: dict[str, Any], found: dict[str, Any]) -> dict[str, FileFact]:
    """Write ``croissant.json``. ``found`` are the release's facts."""
    document = croissant(manifest, found)
    data = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    return {CROISSANT: release.put(CROISSANT, data.encode())}


def croissant(manifest: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The release as JSON-LD. A property for which there is nothing to say is left away."""
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": manifest["title"],
        "description": summary(manifest, found),
        "license": _LICENCE,
        "version": version(manifest),
        "keywords": ["image-text pairs", "WebDataset", "opt-out", manifest["policy"]["name"]],
        "inLanguage": [row["language"] for row in found["languages"]],
        **_stated(manifest),
        **_responsible(datasheet(manifest, found)),
        "distribution": [*_shards(found["shards"]), *_file_sets()],
        "recordSet": [_samples()],
    }
    return {name: value for name, value in described.items() if value}


def _stated(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the publisher says in the config."""
    emit = manifest["settings"]["emit"]
    publisher, contact = emit.get("publisher"), emit.get("contact")
    reached = {"email" if "@" in contact and "/" not in contact else "url": contact} if contact else {}
    someone = {"@type": "sc:Organization", "name": publisher, **reached} if publisher else None
    return {
        "creator": someone,
        "publisher": someone,
        "url": emit.get("url"),
        "datePublished": emit.get("published_on"),
        "citeAs": _citation(manifest["title"], emit) if publisher else None,
    }


def _citation(title: str, emit: dict[str, Any]) -> str:
    fields = {"author": f"{{{emit['publisher']}}}", "title": title, "url": emit.get("url"),
              "date": emit.get("published_on")}  # fmt: skip
    given = ", ".join(f"{name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@dataset{{release, {given}}}"


def _responsible(sheet: Datasheet) -> dict[str, Any]:
    """The properties of the RAI vocabulary that a release can answer."""
    return {
        "rai:dataCollection": " ".join(sheet.collection),
        "rai:dataCollectionType": ["Web Scraping", "Secondary Data Analysis"],
        "rai:dataCollectionRawData": " ".join(sheet.raw),
        "rai:dataCollectionMissingData": " ".join(sheet.missing),
        "rai:dataPreprocessingProtocol": sheet.preprocessing,
        "rai:machineAnnotationTools": sheet.tools,
        "rai:dataUseCases": sheet.uses,
        "rai:dataLimitations": sheet.limitations,
        "rai:dataBiases": sheet.biases,
        "rai:personalSensitiveInformation": sheet.personal,
        "rai:dataReleaseMaintenancePlan": " ".join(sheet.maintenance),
    }


def _shards(shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        yield {
            "@type": "cr:FileObject",
            "@id": shard["path"],
            "name": shard["path"],
            "description": f"Samples: {shard['rows']}",
            "contentUrl": shard["path"],
            "contentSize": f"{shard['bytes']} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard["sha256"],
        }


def _file_sets() -> Iterator[dict[str, Any]]:
    for name, (pattern, doc) in _FILE_SETS.items():
        yield {"@type": "cr:FileSet", "@id": name, "name": name, "description": doc, "encodingFormat": _PARQUET,
               "includes": pattern}  # fmt: skip


def _samples() -> dict[str, Any]:
    where = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": r"(shards/\d+)\.parquet"}}
    fields = [_field("shard", "Path of the shard it is in, without .tar", "sc:Text", where)]
    for column in SIDECAR:
        doc = (column.metadata or {}).get(b"doc", b"").decode()
        fields.append(_field(column.name, doc, _TYPES[column.type], {"extract": {"column": column.name}}))
    return {
        "@type": "cr:RecordSet",
        "@id": "sample",
        "name": "sample",
        "description": "The released pairs. The picture is SHARD.tar's member that begins with KEY.",
        "key": {"@id": "sample/key"},
        "field": fields,
    }


def _field(name: str, doc: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"sample/{name}", "name": name, "description": doc, "dataType": kind,
            "source": {"fileSet": {"@id": "sidecars"}, **source}}  # fmt: skip
