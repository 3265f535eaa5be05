"""`cloister search` and `cloister ask`: what a caller of the API would get, with every group open."""

import rich_click as click

from ingest.cli.session import json_option, operator_of, print_json, say, tenant_option, with_services
from rag.domain import Answer, Hit, Mode, Query, SearchResult
from rag.services import Services

_WIDTH = 240

collection_option = click.option("--collection", multiple=True, metavar="NAME", help="Only here; may be repeated.")


@click.command()
@click.argument("query")
@tenant_option
@collection_option
@click.option("--mode", type=click.Choice(["hybrid", "semantic", "keyword"]), default="hybrid", show_default=True)
@click.option("--limit", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--filter", "filter_", metavar="JSON", help='A metadata filter, such as \'{"price": {"$lt": 50}}\'.')
@click.option("--rerank", is_flag=True, help="Let the cross-encoder judge the first hits (CLOISTER_RERANKER).")
@click.option("--explain", is_flag=True, help="Say how each hit came about.")
@json_option
def search(
    query: str,
    tenant: str,
    collection: tuple[str, ...],
    mode: Mode,
    limit: int,
    filter_: str | None,
    rerank: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Search a tenant's documents."""
    wanted = Query(
        text=query,
        collections=collection or None,
        mode=mode,
        limit=limit,
        filter=_filter(filter_),
        rerank=rerank,
        explain=explain,
    )

    async def work(services: Services) -> SearchResult:
        async with operator_of(services.database, tenant) as principal:
            return await services.searcher.search(principal, wanted)

    result = with_services(work)
    if as_json:
        print_json(result)
        return
    for rank, hit in enumerate(result.hits, 1):
        _print_hit(rank, hit)
    if not result.hits:
        say("no hits")
    if result.explain:
        print_json(result.explain)


@click.command()
@click.argument("question")
@tenant_option
@collection_option
@json_option
def ask(question: str, tenant: str, collection: tuple[str, ...], as_json: bool) -> None:
    """Ask a question; the answer is cited sentence by sentence, or refused."""

    async def work(services: Services) -> Answer:
        async with operator_of(services.database, tenant) as principal:
            return await services.answerer.answer(principal, question=question, collections=collection or None)

    answer = with_services(work)
    if as_json:
        print_json(answer)
        return
    if answer.refusal:
        click.echo(f"Refused ({answer.refusal.code}): {answer.refusal.message}")
        for rank, hit in enumerate(answer.refusal.nearest, 1):
            _print_hit(rank, hit)
        return
    for sentence in answer.sentences:
        click.echo(f"{sentence.text} {''.join(f'[{number}]' for number in sentence.citations)}")
    click.echo()
    for citation in answer.citations:
        place = " › ".join(dict.fromkeys(filter(None, [citation.title, *citation.heading_path])))
        click.echo(f"[{citation.number}] {place} (version {citation.document_version}) {citation.uri or ''}".rstrip())


def _filter(text: str | None) -> str | None:
    if text is None:
        return None
    import msgspec

    from rag.retrieval.filters import compile_filter

    try:
        return compile_filter(msgspec.json.decode(text), pointer="--filter")
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--filter") from error


def _print_hit(rank: int, hit: Hit) -> None:
    place = " › ".join(dict.fromkeys([hit.title or hit.external_id, *hit.heading_path]))
    click.echo(f"{rank:>2}. {place}  ({hit.collection}/{hit.external_id}, {hit.score:.3f})")
    text = " ".join(hit.text.split())
    click.echo(f"    {text[:_WIDTH]}{'…' if len(text) > _WIDTH else ''}")
    if hit.explain:
        click.echo(f"    {hit.explain} ranks={hit.ranks}")
