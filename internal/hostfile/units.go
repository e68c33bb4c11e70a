package hostfile

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// Bytes is an amount of memory or storage.
type Bytes uint64

// BytesPerSecond is a transfer rate.
type BytesPerSecond uint64

// unit is a suffix of a size. Binary units are IEC 80000-13's, decimal ones the SI's.
type unit struct {
	suffix string
	bytes  uint64
}

var units = []unit{
	{"TiB", 1 << 40}, {"TB", 1e12},
	{"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6},
	{"KiB", 1 << 10}, {"kB", 1e3},
	{"B", 1},
}

var quantity = regexp.MustCompile(`^([0-9]{1,20}(?:\.[0-9]{1,20})?) ?([A-Za-z]*)$`)

// ParseBytes reads a size such as "24GiB" or "1.5TB". Decimal and binary units are both exact, so a fraction that isn't a
// whole number of bytes is an error, as is a number without a unit.
func ParseBytes(s string) (Bytes, error) {
	n, err := parseQuantity(s, s, "")
	return Bytes(n), err
}

// ParseBytesPerSecond reads a rate such as "1008GB/s".
func ParseBytesPerSecond(s string) (BytesPerSecond, error) {
	amount, ok := strings.CutSuffix(s, "/s")
	if !ok {
		amount = strings.TrimSuffix(strings.TrimSuffix(s, "ps"), "/sec")
		if _, err := parseQuantity(s, amount, "/s"); err == nil {
			return 0, faultf(fmt.Sprintf("is %q, which is no rate", s), "Did you mean %q?", amount+"/s")
		}
	}
	n, err := parseQuantity(s, amount, "/s")
	return BytesPerSecond(n), err
}

const knownUnits = "Units are B, kB, MB, GB, TB and KiB, MiB, GiB, TiB."

// parseQuantity reads an amount of bytes. Errors show what was written, and suggest amounts followed by per.
func parseQuantity(written, amount, per string) (uint64, error) {
	wrong := func(problem, hint string, args ...any) (uint64, error) {
		return 0, faultf(fmt.Sprintf("is %q, %s", written, problem), hint, args...)
	}
	parts := quantity.FindStringSubmatch(amount)
	if parts == nil {
		return wrong("which is no number with a unit", "Write a number and a unit, such as %q or %q.", "24GiB"+per, "10GB"+per)
	}
	number, suffix := parts[1], parts[2]
	if suffix == "" {
		return wrong("which has no unit", "Did you mean %q? "+knownUnits, number+"GiB"+per)
	}
	i := slices.IndexFunc(units, func(u unit) bool { return u.suffix == suffix })
	if i < 0 {
		return wrong("whose unit isn't known", "%s"+knownUnits, didYouMean(nearUnit(number, suffix, per)))
	}
	value, _ := new(big.Rat).SetString(number) // the pattern admits nothing that isn't a number
	value.Mul(value, new(big.Rat).SetInt(new(big.Int).SetUint64(units[i].bytes)))
	if !value.IsInt() {
		return wrong("which isn't a whole number of bytes", "Use a smaller unit, without a fraction.")
	}
	// systemd's limits and file sizes are at most signed 64 bit numbers.
	if !value.Num().IsInt64() {
		return wrong("which is too much", "The most is %d bytes.", int64(math.MaxInt64))
	}
	return value.Num().Uint64(), nil
}

// nearUnit completes what people write for a unit: "24G", "24gb", "24Gib".
func nearUnit(number, suffix, per string) string {
	for _, u := range units {
		if strings.EqualFold(suffix, u.suffix) || strings.EqualFold(suffix+"iB", u.suffix) || strings.EqualFold(suffix+"B", u.suffix) {
			return number + u.suffix + per
		}
	}
	return ""
}

// String returns the shortest exact form, which ParseBytes reads back as the same number.
func (b Bytes) String() string { return exact(uint64(b)) }

// String returns the shortest exact form, which ParseBytesPerSecond reads back as the same number.
func (r BytesPerSecond) String() string { return exact(uint64(r)) + "/s" }

func exact(n uint64) string {
	number, suffix := n, "B"
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 && n/u.bytes < number {
			number, suffix = n/u.bytes, u.suffix
		}
	}
	return fmt.Sprintf("%d%s", number, suffix)
}
