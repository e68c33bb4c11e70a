//go:build !linux

package source

// Data implements [transfer.Holes]: where holes are isn't known here.
func (s *local) Data(file int, offset uint64) (start, end uint64, ok bool) {
	size := s.files[file].Size
	return offset, size, offset < size
}
