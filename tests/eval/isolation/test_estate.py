from eval.isolation.estate import Document, Thing


def test_a_ghost_has_the_shape_of_the_thing_and_none_of_its_words():
    document = Document.new("alpha", "red", "kb", "other", "red")
    ids = {"slug": "s", "collection": "kb", "external_id": document.external_id, "job_id": "j"}
    thing = Thing(document=document, ids=ids)
    ghost = thing.ghost()
    assert ghost.ids.keys() == thing.ids.keys()
    assert not set(ghost.words()) & set(thing.words())
    assert ghost.ids["collection"] == ghost.document.collection
    assert ghost.document.groups == document.groups


def test_a_documents_words_are_all_under_watch_and_its_secret_is_never_asked_for():
    document = Document.new("alpha", "red", "kb", "other", "red")
    planted_words = {canary.word for canary in document.canaries()}
    assert all(word in str(document.body) for word in planted_words - {document.external_id})
    assert {canary.word for canary in document.canaries() if canary.unsaid} == {document.secret}
    assert document.secret not in document.question
