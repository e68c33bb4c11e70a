package source

import (
	"os"

	"golang.org/x/sys/unix"
)

// Data implements [transfer.Holes]. Where the file system can't say where holes are, there are
// none.
func (s *local) Data(file int, offset uint64) (start, end uint64, ok bool) {
	size := s.files[file].Size
	if offset >= size {
		return 0, 0, false
	}
	s.holes.Lock()
	defer s.holes.Unlock()
	f, err := s.openForHoles(file)
	if err != nil {
		return offset, size, true
	}
	from, err := unix.Seek(int(f.Fd()), int64(offset), unix.SEEK_DATA)
	if err == unix.ENXIO { // from here on it is one hole
		return 0, 0, false
	}
	if err != nil {
		return offset, size, true
	}
	to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
	if err != nil || uint64(to) > size {
		to = int64(size)
	}
	return uint64(from), uint64(to), uint64(from) < size
}

// openForHoles keeps the file open whose holes were last asked for, since they are asked for in
// order.
func (s *local) openForHoles(file int) (*os.File, error) {
	if s.holes.File != nil && s.holes.file == file {
		return s.holes.File, nil
	}
	if s.holes.File != nil {
		s.holes.File.Close()
		s.holes.File = nil
	}
	f, err := s.open(file)
	if err != nil {
		return nil, err
	}
	s.holes.File, s.holes.file = f, file
	return f, nil
}
