package transfer

import (
	"cmp"
	"slices"
)

// span is a part of a file, from start to before end, in bytes.
type span struct{ start, end uint64 }

// spans is a set of bytes: spans that are sorted and neither touch nor overlap.
type spans []span

// after is the index of the first span that ends after a position.
func (s spans) after(at uint64) int {
	i, _ := slices.BinarySearchFunc(s, at+1, func(p span, end uint64) int { return cmp.Compare(p.end, end) })
	return i
}

// overlaps reports whether any byte of p is in the set.
func (s spans) overlaps(p span) bool {
	i := s.after(p.start)
	return i < len(s) && s[i].start < p.end
}

// until is the end of the span that holds a position, or the position itself if none does.
func (s spans) until(at uint64) uint64 {
	if i := s.after(at); i < len(s) && s[i].start <= at {
		return s[i].end
	}
	return at
}

// add adds the bytes of p.
func (s *spans) add(p span) {
	if p.start >= p.end {
		return
	}
	old := *s
	if n := len(old); n > 0 && old[n-1].end == p.start { // the usual case: in order
		old[n-1].end = p.end
		return
	}
	i, _ := slices.BinarySearchFunc(old, p.start, func(o span, at uint64) int { return cmp.Compare(o.end, at) })
	j := i
	for j < len(old) && old[j].start <= p.end {
		p.start, p.end = min(p.start, old[j].start), max(p.end, old[j].end)
		j++
	}
	*s = slices.Replace(old, i, j, p)
}

// remove takes the bytes of p out.
func (s *spans) remove(p span) {
	var out spans
	for _, o := range *s {
		if o.end <= p.start || o.start >= p.end {
			out = append(out, o)
			continue
		}
		if o.start < p.start {
			out = append(out, span{o.start, p.start})
		}
		if o.end > p.end {
			out = append(out, span{p.end, o.end})
		}
	}
	*s = out
}

// missing are the parts of the first size bytes that are not in the set.
func (s spans) missing(size uint64) []span {
	var out []span
	at := uint64(0)
	for _, p := range s {
		if p.start > at {
			out = append(out, span{at, p.start})
		}
		at = p.end
	}
	if at < size {
		out = append(out, span{at, size})
	}
	return out
}

// total is the number of bytes.
func (s spans) total() uint64 {
	var n uint64
	for _, p := range s {
		n += p.end - p.start
	}
	return n
}
