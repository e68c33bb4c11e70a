package transfer

import (
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/proto"
)

// lane is a client's end of a lane.
type lane struct {
	rwc       io.ReadWriteCloser
	translate func(error) error // nil: none
	writing   sync.Mutex
	once      sync.Once
}

func newLane(rwc io.ReadWriteCloser) *lane {
	l := &lane{rwc: rwc}
	if t, ok := rwc.(Translating); ok {
		l.translate = t.Translate
	}
	return l
}

func (l *lane) write(b []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	n, err := l.rwc.Write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrCut, err)
	}
	return n, err
}

func (l *lane) message(k kind, m proto.Message) error {
	b, err := message(k, m)
	if err != nil {
		return err
	}
	_, err = l.write(b)
	return err
}

func (l *lane) close() { l.once.Do(func() { l.rwc.Close() }) }
