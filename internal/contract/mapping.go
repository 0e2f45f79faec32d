package contract

// MapPath is where the role vault tells the role gateway which subjects a provider's keys stand for, over mutual TLS.
const MapPath = "/v1/map"

// Bounds of a MapRequest: how many keys it has at most, and how many characters a key that can be in the vault.
const (
	MaxMapKeys      = 2000
	MaxIdentityKey  = 256
	MaxMapBodyBytes = 8 << 20
)

// Bounds of links, by which a provider tells the role vault whose record a key is: how many a call has at most and how many bytes its body,
// and how many one organisation may link in a second and at once.
const (
	MaxLinks          = 200
	MaxVaultBodyBytes = 64 << 10
	LinksPerSecond    = 100
	LinksAtOnce       = 2000
)

// MapRequest asks for the subjects of keys by which a provider's own PostgreSQL knows persons.
type MapRequest struct {
	Dataset string `json:"dataset"`
	// Keys are values of the dataset's subjectColumn, as text.
	Keys []string `json:"keys"`
	// Scopes are those that each subject must have consented to, for the Purpose, at the moment of the question; without any every
	// subject is given.
	Scopes  []string `json:"scopes,omitempty"`
	Purpose string   `json:"purpose,omitempty"`
}

// MapAnswer has a subject for each key, in the order of the keys; empty for one that the vault does not know, and for one who has not
// consented: the two are not told apart.
type MapAnswer struct {
	Subjects []string `json:"subjects"`
}

// ForeignSubject names a person in the decision log, before the pseudonym is made, whom a provider's own PostgreSQL knows by a key that the
// vault did not know when the row was read.
func ForeignSubject(dataset, key string) string { return "foreign\x00" + dataset + "\x00" + key }
