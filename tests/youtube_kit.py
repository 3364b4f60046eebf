"""YouTube as yt-dlp's extractor reads it: pages and answers in the shape its source documents, written by hand.

Nothing here was recorded from the real site. It shows that our side of yt-dlp works, not that yt-dlp still fits the site.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import pytest
from yt_dlp.networking.common import RequestHandler, Response
from yt_dlp.networking.exceptions import HTTPError

from gainstage.engine.sources import ytdlp_guard

CHANNEL = "UCabcdefghijklmnopqrstuv"
UPLOADS = "UU" + CHANNEL[2:]


def video_id(n: int) -> str:
    return f"vid{n:08d}"


def text(words: str) -> dict[str, Any]:
    return {"runs": [{"text": words}]}


def playlist_video(n: int, **changes: Any) -> dict[str, Any]:
    """An entry of a playlist page."""
    id = video_id(n)
    renderer = {
        "videoId": id,
        "title": text(f"Talk {n}"),
        "lengthSeconds": "1800",
        "lengthText": {"simpleText": "30:00"},
        "isPlayable": True,
        "shortBylineText": {
            "runs": [
                {
                    "text": "Somebody",
                    "navigationEndpoint": {"browseEndpoint": {"browseId": CHANNEL, "canonicalBaseUrl": "/@somebody"}},
                }
            ]
        },
        "videoInfo": text("1,234 views • 3 months ago"),
        "navigationEndpoint": {"commandMetadata": {"webCommandMetadata": {"url": f"/watch?v={id}&list={UPLOADS}&index={n}"}}},
    }
    return {"playlistVideoRenderer": {**renderer, **changes}}


def members_only(n: int) -> dict[str, Any]:
    return playlist_video(
        n, badges=[{"metadataBadgeRenderer": {"style": "BADGE_STYLE_TYPE_MEMBERS_ONLY", "label": "Members only"}}]
    )


def upcoming(n: int) -> dict[str, Any]:
    return playlist_video(n, upcomingEventData={"startTime": "1924992000"}, lengthSeconds=None, lengthText=None)


def live(n: int) -> dict[str, Any]:
    overlay = {"thumbnailOverlayTimeStatusRenderer": {"style": "LIVE", "text": {"simpleText": "LIVE"}}}
    return playlist_video(n, thumbnailOverlays=[overlay], lengthSeconds=None, lengthText=None)


def short(n: int) -> dict[str, Any]:
    overlay = {"thumbnailOverlayTimeStatusRenderer": {"style": "SHORTS", "text": {"simpleText": "SHORTS"}}}
    return playlist_video(n, thumbnailOverlays=[overlay], lengthSeconds="45", lengthText={"simpleText": "0:45"})


def private(n: int) -> dict[str, Any]:
    return playlist_video(n, title=text("[Private video]"), isPlayable=False, lengthSeconds=None, lengthText=None)


def deleted(n: int) -> dict[str, Any]:
    return playlist_video(n, title=text("[Deleted video]"), isPlayable=False, lengthSeconds=None, lengthText=None)


def lockup(n: int, *, members: bool = False) -> dict[str, Any]:
    """An entry in the newer shape of channel pages."""
    rows: list[dict[str, Any]] = [
        {"metadataParts": [{"text": {"content": "12K views"}}, {"text": {"content": "2 weeks ago"}}], "accessibilityLabel": "x"}
    ]
    rows[0]["metadataParts"][-1]["accessibilityLabel"] = "2 weeks ago"
    if members:
        rows.append({"badges": [{"badgeViewModel": {"badgeStyle": "BADGE_MEMBERS_ONLY", "badgeText": "Members only"}}]})
    return {
        "richItemRenderer": {
            "content": {
                "lockupViewModel": {
                    "contentId": video_id(n),
                    "contentType": "LOCKUP_CONTENT_TYPE_VIDEO",
                    "metadata": {
                        "lockupMetadataViewModel": {
                            "title": {"content": f"Talk {n}"},
                            "metadata": {"contentMetadataViewModel": {"metadataRows": rows}},
                        }
                    },
                    "contentImage": {
                        "thumbnailViewModel": {
                            "image": {"sources": []},
                            "overlays": [
                                {
                                    "thumbnailOverlayBadgeViewModel": {
                                        "thumbnailBadges": [{"thumbnailBadgeViewModel": {"text": "20:00"}}]
                                    }
                                }
                            ],
                        }
                    },
                }
            }
        }
    }


def shorts_lockup(n: int) -> dict[str, Any]:
    """An entry of a channel's tab of shorts."""
    model = {
        "entityId": f"shorts-shelf-item-{video_id(n)}",
        "accessibilityText": f"Talk {n}, 1.2 million views - play Short",
        "onTap": {"innertubeCommand": {"reelWatchEndpoint": {"videoId": video_id(n)}}},
        "overlayMetadata": {"primaryText": {"content": f"Talk {n}"}, "secondaryText": {"content": "1.2M views"}},
    }
    return {"richItemRenderer": {"content": {"shortsLockupViewModel": model}}}


def search_video(n: int) -> dict[str, Any]:
    """A hit of a search."""
    return {
        "videoRenderer": {
            "videoId": video_id(n),
            "title": text(f"Talk {n}"),
            "lengthText": {"simpleText": "30:00"},
            "ownerText": playlist_video(n)["playlistVideoRenderer"]["shortBylineText"],
            "publishedTimeText": {"simpleText": "2 years ago"},
        }
    }


def search_page(entries: list[dict[str, Any]], token: str | None = None) -> dict[str, Any]:
    """The answer to a search."""
    contents: list[dict[str, Any]] = [{"itemSectionRenderer": {"contents": entries}}]
    if token:
        contents.append(continuation(token))
    return {"contents": {"twoColumnSearchResultsRenderer": {"primaryContents": {"sectionListRenderer": {"contents": contents}}}}}


def more_hits(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer to a search's continuation."""
    items = [{"itemSectionRenderer": {"contents": entries}}]
    return {"onResponseReceivedCommands": [{"appendContinuationItemsAction": {"continuationItems": items}}]}


def continuation(token: str) -> dict[str, Any]:
    return {
        "continuationItemRenderer": {
            "continuationEndpoint": {"continuationCommand": {"token": token, "request": "CONTINUATION_REQUEST_TYPE_BROWSE"}}
        }
    }


def page(data: dict[str, Any]) -> str:
    config = {
        "INNERTUBE_API_KEY": "key",
        "INNERTUBE_CONTEXT": {"client": {"clientName": "WEB", "clientVersion": "2.20260101.00.00"}},
    }
    return f"<html><script>ytcfg.set({json.dumps(config)});</script><script>var ytInitialData = {json.dumps(data)};</script></html>"


def playlist(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The data of a playlist's first page."""
    contents = {
        "sectionListRenderer": {
            "contents": [{"itemSectionRenderer": {"contents": [{"playlistVideoListRenderer": {"contents": entries}}]}}]
        }
    }
    return {
        "metadata": {"playlistMetadataRenderer": {"title": "Uploads from Somebody"}},
        "contents": {"twoColumnBrowseResultsRenderer": {"tabs": [{"tabRenderer": {"selected": True, "content": contents}}]}},
    }


def channel_page(entries: list[dict[str, Any]], tab: str = "videos", id: str = CHANNEL) -> str:
    return page(
        {
            "metadata": {
                "channelMetadataRenderer": {
                    "title": "Somebody",
                    "externalId": id,
                    "channelUrl": f"https://www.youtube.com/channel/{id}",
                    "vanityChannelUrl": "http://www.youtube.com/@somebody",
                }
            },
            "contents": {
                "twoColumnBrowseResultsRenderer": {
                    "tabs": [
                        {
                            "tabRenderer": {
                                "selected": True,
                                "title": tab.title(),
                                "tabIdentifier": "",
                                "endpoint": {"commandMetadata": {"webCommandMetadata": {"url": f"/@somebody/{tab}"}}},
                                "content": {"richGridRenderer": {"contents": entries}},
                            }
                        }
                    ]
                }
            },
        }
    )


def more(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer to a continuation."""
    return {"onResponseReceivedActions": [{"appendContinuationItemsAction": {"continuationItems": entries, "targetId": "x"}}]}


def player(n: int, status: dict[str, Any] | None = None, **details: Any) -> dict[str, Any]:
    """The player's answer for one video."""
    return {
        "playabilityStatus": status or {"status": "OK"},
        "videoDetails": {
            "videoId": video_id(n),
            "title": f"Talk {n}",
            "lengthSeconds": "1800",
            "channelId": CHANNEL,
            "author": "Somebody",
            "isLiveContent": False,
            **details,
        },
        "microformat": {
            "playerMicroformatRenderer": {
                "publishDate": "2026-05-04T09:00:00-07:00", "uploadDate": "2026-05-04T09:00:00-07:00", "lengthSeconds": "1800",
                "ownerChannelName": "Somebody", "title": {"simpleText": f"Talk {n}"}, "isFamilySafe": True, "isUnlisted": False,
                "isShortsEligible": bool(details.get("isShort")),
            }
        },
        "streamingData": {
            "expiresInSeconds": "21540",
            "adaptiveFormats": [
                {
                    "itag": 140, "url": "https://rr1.googlevideo.com/videoplayback?id=1", "mimeType": 'audio/mp4; codecs="mp4a.40.2"',
                    "bitrate": 130000, "contentLength": "29000000", "approxDurationMs": "1800000", "audioSampleRate": "44100",
                    "audioChannels": 2, "audioQuality": "AUDIO_QUALITY_MEDIUM", "quality": "tiny",
                }
            ],
        } if status is None else {},
    }  # fmt: skip


Answer = str | dict[str, Any] | int


@dataclass
class YouTube:
    """Answers by address. ``playlists`` by their id, ``players`` by video, ``continuations`` by token, ``searches`` by words; a
    number is an HTTP status.
    """

    playlists: dict[str, Answer] = field(default_factory=dict)
    pages: dict[str, Answer] = field(default_factory=dict)
    continuations: dict[str, Answer] = field(default_factory=dict)
    players: dict[str, Answer] = field(default_factory=dict)
    searches: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, url: str, body: dict[str, Any]) -> Answer:
        if "/youtubei/v1/search" in url:
            self.asked.append(f"search {body.get('continuation') or body['query']}")
            wanted = body.get("continuation")
            return self.continuations.get(wanted, 404) if wanted else self.searches.get(body["query"], 404)
        if url.rstrip("/") == "https://www.youtube.com":
            return page({})
        if "/youtubei/v1/browse" in url and (token := body.get("continuation")):
            self.asked.append(f"more {token}")
            return self.continuations.get(token, 404)
        if "/youtubei/v1/browse" in url and (id := body.get("browseId")):
            self.asked.append(f"browse {id}")
            return self.playlists.get(str(id).removeprefix("VL"), 404)
        if "/youtubei/v1/player" in url:
            self.asked.append(f"player {body['videoId']}")
            return self.players.get(body["videoId"], 404)
        if match := re.search(r"/(?:watch\?v=|shorts/)([\w-]{11})", url):
            self.asked.append(f"watch {match[1]}")
            found = self.players.get(match[1], 404)
            about = {"contents": {"twoColumnWatchNextResults": {"results": {"results": {"contents": []}}}}}
            script = f"var ytInitialPlayerResponse = {json.dumps(found)};var ytInitialData = {json.dumps(about)};"
            return found if isinstance(found, int | str) else f"<html><script>{script}</script></html>"
        if match := re.search(r"/playlist\?list=([\w-]+)", url):
            self.asked.append(f"playlist {match[1]}")
            listed = self.playlists.get(match[1], 404)
            return page(listed) if isinstance(listed, dict) else listed
        if "/embed/" in url:
            return page({})
        path = re.sub(r"^https://www\.youtube\.com", "", url).split("&")[0]
        self.asked.append(path)
        return self.pages.get(path, 404)


@contextmanager
def playing(youtube: YouTube, monkeypatch: pytest.MonkeyPatch) -> Iterator[YouTube]:
    """yt-dlp talks to ``youtube`` instead of the network."""

    class CannedRH(RequestHandler):
        _SUPPORTED_URL_SCHEMES = ("http", "https")
        RH_NAME = "canned"

        def _check_extensions(self, extensions: dict[str, Any]) -> None:
            extensions.clear()

        def _send(self, request: Any) -> Response:
            data = request.data or b""
            raw = data if isinstance(data, bytes) else b"".join(data)
            answer = youtube.answer(request.url, json.loads(raw) if raw.startswith(b"{") else {})
            status, body = (answer, "") if isinstance(answer, int) else (200, answer)
            payload = (body if isinstance(body, str) else json.dumps(body)).encode()
            headers = Message()
            headers["Content-Type"] = "text/html; charset=utf-8" if isinstance(body, str) else "application/json"
            response = Response(io.BytesIO(payload), request.url, headers, status=status)
            if status != 200:
                raise HTTPError(response)
            return response

    monkeypatch.setattr(ytdlp_guard, "handler_for", lambda *_: CannedRH)
    yield youtube
