package transfer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// The journal says what has arrived. It is a line of JSON and then records that are only ever
// appended, each as soon as its bytes were written: a killed agent leaves both in the page
// cache. A power cut may leave either without the other, and bytes may be damaged later. So
// each record holds a checksum of the bytes and one of itself, and what an earlier attempt has
// left is checked when it is hashed.
const (
	journalFile   = "journal"
	journalFormat = 1
	recordSize    = 28

	// maxRecords bounds what is read of a journal: 2 TB in pieces of 1 MiB, and 64 MB of memory.
	maxRecords = 2 << 20
	maxJournal = 4096 + maxRecords*recordSize // bytes, with the first line
)

// checksum finds bytes that were damaged or never reached the disk. It need not withstand
// anybody: the model's SHA-256 does.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// extent is a part of a file that has arrived.
type extent struct {
	file int
	span
	zero bool // a hole
	sum  uint32
}

// journalHead is the journal's first line.
type journalHead struct {
	Format   int    `json:"format"`
	Identity string `json:"identity"`
	Inode    uint64 `json:"inode"`
	Size     uint64 `json:"size"` // of the model, bytes
}

type journal struct {
	mu   sync.Mutex
	file *os.File
	buf  []byte
}

func newJournal(dir *durable.Dir, identity string, inode, size uint64) (*journal, error) {
	f, err := dir.CreateNew(journalFile)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(journalHead{Format: journalFormat, Identity: identity, Inode: inode, Size: size})
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &journal{file: f}, nil
}

// loadJournal reads a journal that speaks of these bytes, up to the first record that is
// damaged, and is ready to append there.
func loadJournal(dir *durable.Dir, identity string, inode uint64) (*journal, []extent, bool) {
	f, err := dir.OpenReadWrite(journalFile)
	if err != nil {
		return nil, nil, false
	}
	content, err := io.ReadAll(io.LimitReader(f, maxJournal))
	head, records, found := bytes.Cut(content, []byte("\n"))
	var h journalHead
	if err != nil || !found || json.Unmarshal(head, &h) != nil ||
		h.Format != journalFormat || h.Identity != identity || h.Inode != inode {
		f.Close()
		return nil, nil, false
	}
	var extents []extent
	good := int64(len(head) + 1)
	for len(records) >= recordSize {
		e, ok := parseRecord(records[:recordSize])
		if !ok {
			break
		}
		extents = append(extents, e)
		records = records[recordSize:]
		good += recordSize
	}
	if err := f.Truncate(good); err != nil {
		f.Close()
		return nil, nil, false
	}
	if _, err := f.Seek(good, io.SeekStart); err != nil {
		f.Close()
		return nil, nil, false
	}
	return &journal{file: f}, extents, true
}

const zeroFlag = 1 << 31

func appendRecord(b []byte, e extent) []byte {
	from := len(b)
	file := uint32(e.file)
	if e.zero {
		file |= zeroFlag
	}
	b = binary.BigEndian.AppendUint32(b, file)
	b = binary.BigEndian.AppendUint64(b, e.start)
	b = binary.BigEndian.AppendUint64(b, e.end)
	b = binary.BigEndian.AppendUint32(b, e.sum)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

func parseRecord(b []byte) (extent, bool) {
	if crc32.Checksum(b[:recordSize-4], castagnoli) != binary.BigEndian.Uint32(b[recordSize-4:]) {
		return extent{}, false
	}
	file := binary.BigEndian.Uint32(b)
	return extent{
		file: int(file &^ zeroFlag),
		zero: file&zeroFlag != 0,
		span: span{binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint64(b[12:])},
		sum:  binary.BigEndian.Uint32(b[20:]),
	}, true
}

// add writes a record.
func (j *journal) add(e extent) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = appendRecord(j.buf[:0], e)
	_, err := j.file.Write(j.buf)
	return err
}

func (j *journal) sync() error { return j.file.Sync() }

func (j *journal) close() { j.file.Close() }
