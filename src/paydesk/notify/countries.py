"""Countries by name, in the reader's language."""

from __future__ import annotations

from babel import Locale

#: There are no Haitian Creole names in the Unicode data that Babel brings; these are the usual
#: ones. The others are shown in French, as people write them in Haiti.
_HT = {
    "AR": "Ajantin", "BE": "Bèljik", "BR": "Brezil", "BS": "Bahamas", "CA": "Kanada",
    "CH": "Swis", "CL": "Chili", "CN": "Lachin", "CO": "Kolonbi", "CU": "Kiba",
    "DE": "Almay", "DO": "Repiblik Dominikèn", "ES": "Espay", "FR": "Frans",
    "GB": "Wayòm Ini", "GF": "Giyàn franse", "GP": "Gwadloup", "HT": "Ayiti", "IN": "Lend",
    "IT": "Itali", "JM": "Jamayik", "JP": "Japon", "MQ": "Matinik", "MX": "Meksik",
    "NL": "Peyi Ba", "PA": "Panama", "PR": "Pòtoriko", "PT": "Pòtigal", "US": "Etazini",
    "VE": "Venezwela",
}  # fmt: skip


def name(code: str, locale: str) -> str:
    """The name of a country's ISO 3166 code; the code itself where it is none."""
    code = code.upper()
    if locale == "ht" and code in _HT:
        return _HT[code]
    return Locale.parse(locale).territories.get(code) or code
