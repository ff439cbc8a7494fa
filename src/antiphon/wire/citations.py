"""Citations: what part of which source a text refers to (spec §8.7). Input and output alike."""

from msgspec import UNSET, UnsetType

from antiphon.wire.structs import Plain, Tagged


class CitationsConfig(Plain):
    """`citations` of a document or search result: may the answer cite it?"""

    enabled: bool | UnsetType = UNSET


class CharLocation(Tagged, tag="char_location"):
    """A span of a plain text document: 0-based, end exclusive."""

    cited_text: str
    document_index: int
    start_char_index: int
    end_char_index: int
    document_title: str | None = None
    file_id: str | UnsetType | None = UNSET


class PageLocation(Tagged, tag="page_location"):
    """Pages of a PDF: 1-based, end exclusive."""

    cited_text: str
    document_index: int
    start_page_number: int
    end_page_number: int
    document_title: str | None = None
    file_id: str | UnsetType | None = UNSET


class ContentBlockLocation(Tagged, tag="content_block_location"):
    """Blocks of a document made of blocks: 0-based, end exclusive."""

    cited_text: str
    document_index: int
    start_block_index: int
    end_block_index: int
    document_title: str | None = None
    file_id: str | UnsetType | None = UNSET


class SearchResultLocation(Tagged, tag="search_result_location"):
    """Blocks of a `search_result` block."""

    cited_text: str
    source: str
    search_result_index: int
    start_block_index: int
    end_block_index: int
    title: str | None = None


class WebSearchResultLocation(Tagged, tag="web_search_result_location"):
    """A page that a web search found."""

    cited_text: str
    encrypted_index: str
    url: str
    title: str | None = None


Citation = (
    CharLocation
    | PageLocation
    | ContentBlockLocation
    | WebSearchResultLocation
    | SearchResultLocation
)
