"""The words of a company's data, among them those that break loaders.

Inch marks (a reader that knows quoting would swallow the rows that follow), accents, letters outside Latin-1,
emoji beyond 16 bits, backslashes (`\\N` is NULL to some loaders), percent signs, blanks at an end.
"""

GOODS = (
    "Hex bolt",
    "Flat washer",
    "Ball valve",
    "Hand tool",
    "Conduit",
    "Écrou",
    "Dübel",
    "Żarówka",
    "螺栓",
    "Fan \\N 12",
)
SIZES = ('3/4" x 10"', '1/2"', "M8 × 40", '2-1/2" NPT', "12 AWG", "6' x 4'", '1" 🔩')
FINISHES = ("zinc plated", 'grade 8, "hot dip"', "316 stainless", "brass; tapped", "see C:\\new\\table")
BRANDS = ("Würth", "Béton & Cie", "ACME", "Żółw", "\\N", "NULL", "0")
COMPANIES = (
    "Müller & Söhne",
    "Café Brûlé",
    "Ångström Valves",
    'O\'Neil "The Bolt" Supply',
    "Żywiec Fasteners",
    "Smith, Jones & Co",
    "100% Steel",
    "Robert'); DROP TABLE orders;--",
    "=HYPERLINK(1)",
    "Blüte 🌸 GmbH",
)
STREETS = ("Main St", "Rue de l'Église", "Hauptstraße", "Industrial Pkwy #7", "5th Ave")
SECOND_LINES = ("", "", "", "Dock 4", "Suite 12 ", " c/o goods inwards")
PLACES = (
    ("San José", "CA", "95112", "US"),
    ("Montréal", "QC", "H2Y 1C6", "CA"),
    ("Köln", "", "50667", "DE"),
    ("Boise", "ID", "83702-1234", "US"),
    ("Łódź", "", "90-001", "PL"),
    ("東京", "", "100-0001", "Japan"),
)
FIRST_NAMES = ("Ada", "Jürgen", "Zoë", "Łukasz", "Seán", "Inés")
LAST_NAMES = ("O'Brien", "Núñez", "Müller", "Smith-Jones", "Øster", "Nowak")
POSITIONS = ("Buyer", "A/P", 'Head of "MRO"', "Chef d'équipe", "QA \\ QC")
SITES = {
    "01": "Main warehouse",
    "02": "Northern depot",
    "STO3": "Store № 3",
    "HUB": "Hub, dock 1",
    "RET": "Returns",
}
LOCATIONS = ("A-01-1", "A-01-2", "B-17", "YARD", "RECV")
TERMS = (
    ("2/5/30", "STD", "5", "2"),
    ("NET 30", "STDX", "", ""),
    ("COD", "COD", "", ""),
    ("PREPAID", "PREPAID", "", "1.5"),
    ("1% 10TH PROX", "PROX", "10", "1"),
)
GROUPS = ("CUST-PPG", "CUST-ITEM", "CLASS-PPG", "ALL")
SHEETS = ("", "USA", "CDN", "EU")
BASES = ("LIST", "COST", "WHOLESALE")
UNITS = ("EA", "BX", "FT", "PR", "m²")
SALESREPS = ("JD", "MÜ", "AB2", "ŁK", "7", "HOUSE")
COLOURS = ("", "MRO", "HDW", "ELEC", "a b", "x\\y")
