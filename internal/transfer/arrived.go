package transfer

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// Arrived says how much of a model is in a hidden folder, and how large the model is, in bytes.
// Both are 0 when nothing there says so. It changes nothing, whoever is sending meanwhile.
func Arrived(parent *durable.Dir, part string) (arrived, total uint64) {
	dir, err := parent.OpenFolder(part)
	if err != nil {
		return 0, 0
	}
	defer dir.Close()
	f, _, err := dir.OpenFile(journalFile)
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxJournal))
	head, records, found := bytes.Cut(content, []byte("\n"))
	var h journalHead
	if err != nil || !found || json.Unmarshal(head, &h) != nil || h.Format != journalFormat {
		return 0, 0
	}
	files := map[int]*spans{} // what was damaged and sent again is in the journal twice
	for ; len(records) >= recordSize; records = records[recordSize:] {
		e, ok := parseRecord(records[:recordSize])
		if !ok {
			break
		}
		if files[e.file] == nil {
			files[e.file] = &spans{}
		}
		files[e.file].add(e.span)
	}
	for _, s := range files {
		arrived += s.total()
	}
	return min(arrived, h.Size), h.Size
}
