package drift

import (
	"encoding/json"
	"io"
)

// WriteJSON writes a report for machines:
//
//	{"stack", "host", "checkedAt" (RFC 3339, UTC), "drifted" (bool),
//	 "findings": [{"urn", "type", "name", "id", "kind" ("changed", "missing" or "facts"),
//	               "property" (a property path), "want", "have"}],
//	 "roundTrips" (calls to the host's agent)}
//
// urn, type, name and id are absent for facts; property, want and have for a missing resource;
// want or have where there is no such value.
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
