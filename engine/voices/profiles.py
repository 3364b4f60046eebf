"""The public names of profile handling in one module: enrolment, profiles, their store."""

from __future__ import annotations

from gainstage.engine.voices.enrol import EnrolmentReport, enrol, enrol_speaker
from gainstage.engine.voices.profile_index import Profile
from gainstage.engine.voices.profile_store import ProfileStore, Version, checked_name

__all__ = ["EnrolmentReport", "Profile", "ProfileStore", "Version", "checked_name", "enrol", "enrol_speaker"]
