"""Profiles in one place: who is enrolled, and how somebody comes to be."""

from __future__ import annotations

from engine.voices.enrol import EnrolmentReport, enrol, enrol_speaker
from engine.voices.gallery import Profile
from engine.voices.profile_store import ProfileStore, Version, checked_name

__all__ = ["EnrolmentReport", "Profile", "ProfileStore", "Version", "checked_name", "enrol", "enrol_speaker"]
