package hostfile

import (
	"fmt"
	"math/big"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a time zone is valid or not wherever llmhost runs

	"github.com/zclconf/go-cty/cty"
)

// kind is a way to write a value. Its parser gives a *fault for what it doesn't accept.
type kind[V any] struct {
	name   string // as the documentation calls it
	decode func(in scope, value cty.Value) (V, error)
}

// scope is what the meaning of a value depends on besides its text.
type scope struct {
	folder string // absolute folder of the host file
	home   string // the user's home folder; "" when there is none
}

// quoted is a kind that is written as a string.
func quoted[V any](name string, parse func(s string) (V, error)) kind[V] {
	return located(name, func(_ scope, s string) (V, error) { return parse(s) })
}

// located is a quoted kind whose meaning depends on the scope.
func located[V any](name string, parse func(in scope, s string) (V, error)) kind[V] {
	return kind[V]{name: name, decode: func(in scope, value cty.Value) (V, error) {
		var none V
		if value.IsNull() || value.Type() != cty.String {
			return none, faultf("is "+describe(value)+" and not a string", "Write %s in double quotes.", name)
		}
		return parse(in, value.AsString())
	}}
}

// optional is a kind whose value may be left to somebody else: nil then.
func optional[V any](k kind[V]) kind[*V] {
	return kind[*V]{name: k.name, decode: func(in scope, value cty.Value) (*V, error) {
		v, err := k.decode(in, value)
		if err != nil {
			return nil, err
		}
		return &v, nil
	}}
}

// measured is a quoted kind that people like to write as a bare number.
func measured[V any](name string, parse func(s string) (V, error)) kind[V] {
	k := quoted(name, parse)
	strict := k.decode
	k.decode = func(in scope, value cty.Value) (V, error) {
		if !value.IsNull() && value.Type() == cty.Number {
			return parse(value.AsBigFloat().Text('f', -1))
		}
		return strict(in, value)
	}
	return k
}

func describe(value cty.Value) string {
	switch {
	case value.IsNull():
		return "null"
	case value.Type() == cty.Number:
		return "the number " + value.AsBigFloat().Text('g', 10)
	case value.Type() == cty.Bool:
		return map[bool]string{true: "true", false: "false"}[value.True()]
	case value.Type() == cty.String:
		return "a string"
	}
	return "a list or a map"
}

var (
	text = quoted("text", func(s string) (string, error) { return s, nil })

	boolean = kind[bool]{name: "`true` or `false`", decode: func(_ scope, value cty.Value) (bool, error) {
		if value.IsNull() || value.Type() != cty.Bool {
			return false, faultf("is "+describe(value), "Write true or false, without quotes.")
		}
		return value.True(), nil
	}}

	portNumber = between("a port", 1, 65535)

	size         = measured("a size", ParseBytes)
	rate         = measured("a rate", ParseBytesPerSecond)
	positiveSize = measured("a size", func(s string) (Bytes, error) {
		n, err := ParseBytes(s)
		if err == nil && n == 0 {
			return 0, faultf("is zero", "Write a size such as %q.", "8GiB")
		}
		return n, err
	})
	duration = measured("a duration", parseDuration)

	localPath     = located("a local path", parseLocalPath)
	archivePath   = located("a local path", parseArchivePath)
	hostPath      = quoted("a host path", parseHostPath)
	modelsPath    = quoted("a host path", parseModelsPath)
	pathInArchive = quoted("a path inside the archive", parsePathInArchive)

	octalMode    = quoted("a mode", parseMode)
	sha256Digest = quoted("a SHA-256", parseDigest)
	timezone     = quoted("a time zone", parseTimezone)

	gpuVendor   = choice("GPU vendor", "nvidia", "amd", "intel")
	engineKind  = choice("engine", engineKinds...)
	runtimeName = choice("runtime", RuntimeSystemd, RuntimeCompose, RuntimeQuadlet)

	hostName    = named(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`, 63, "lower-case letters, digits and hyphens (not at the ends)")
	engineName  = named(`^[a-z0-9][a-z0-9._-]*$`, 100, "lower-case letters, digits, dots, underscores and hyphens, with a letter or digit first")
	accountName = named(`^([a-z_][a-z0-9_.-]*\$?|[0-9]+)$`, 32, "a user or group name as useradd(8) makes them, or a number")
	serverName  = quoted("a name", parseServerName)
	modelName   = quoted("a name", parseModelName)

	projectName = named(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`, 24, "lower-case letters, digits and hyphens (not at the ends)")
	packageName = named(`^[a-z0-9][a-z0-9+.-]+$`, 100, "the name of a Debian package: lower-case letters, digits and + - .")
	plainWord   = named(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`, 50, "letters, digits, dots, underscores and hyphens")

	packageVersion   = named(`^[A-Za-z0-9][A-Za-z0-9.+~:-]*$`, 100, "the version of a package: letters, digits and . + ~ : -")
	packageIndex     = quoted("an address or a folder", parsePackageIndex)
	containerRuntime = choice("container runtime", RuntimeDocker, RuntimePodman)

	imageReference = quoted("a container image", parseImageReference)
	containerUser  = quoted("`UID:GID`", parseContainerUser)
	processors     = number("a number", 4096)
	fraction       = number("a number", 1)

	watts          = quoted("a power", parseWatts)
	exposureScore  = tenths("a number", 10)
	directiveValue = oneOrSeveral("text, or a list of texts", quoted("text", parseAssignment))
	reasonText     = quoted("text", parseReason)

	companionName = named(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`, 50, "lower-case letters, digits and hyphens (not at the ends)")
	companionKind = choice("companion kind", MMProj, LoRA, Draft)
	downloader    = choice("downloader", DownloadByHost, DownloadHere)
)

// engineKinds are the engines that llmhost can run.
var engineKinds = []string{KindLlamaCpp, KindVLLM, KindOllama}

// between is a whole number in a range, written without quotes.
func between(name string, least, most int64) kind[int] {
	return kind[int]{name: name, decode: func(_ scope, value cty.Value) (int, error) {
		if value.IsNull() || value.Type() != cty.Number {
			return 0, faultf("is "+describe(value)+" and not a number", "Write a whole number from %d to %d, without quotes.", least, most)
		}
		n, accuracy := value.AsBigFloat().Int64()
		if accuracy != big.Exact {
			return 0, faultf("is "+describe(value)+", which isn't a whole number", "Write a whole number from %d to %d.", least, most)
		}
		if n < least || n > most {
			return 0, faultf(fmt.Sprintf("is %d, which is out of range", n), "Write a whole number from %d to %d.", least, most)
		}
		return int(n), nil
	}}
}

// number is a number above zero up to most, written without quotes.
func number(name string, most float64) kind[float64] {
	return kind[float64]{name: name, decode: func(_ scope, value cty.Value) (float64, error) {
		if value.IsNull() || value.Type() != cty.Number {
			return 0, faultf("is "+describe(value)+" and not a number", "Write a number above 0 and up to %g, without quotes.", most)
		}
		n, _ := value.AsBigFloat().Float64()
		if n <= 0 || n > most {
			return 0, faultf(fmt.Sprintf("is %g, which is out of range", n), "Write a number above 0 and up to %g.", most)
		}
		return n, nil
	}}
}

// listOf is a list of values of one kind, each at most once.
func listOf[V comparable](name string, of kind[V]) kind[[]V] {
	return kind[[]V]{name: name, decode: func(in scope, value cty.Value) ([]V, error) {
		if value.IsNull() || !value.Type().IsTupleType() {
			return nil, faultf("is "+describe(value)+" and not a list", "Write the values in brackets, such as [0, 1].")
		}
		list := []V{}
		for _, element := range value.AsValueSlice() {
			v, err := of.decode(in, element)
			if err != nil {
				return nil, err
			}
			if slices.Contains(list, v) {
				return nil, faultf(fmt.Sprintf("names %v twice", v), "Write each once.")
			}
			list = append(list, v)
		}
		return list, nil
	}}
}

// choice is one of a few words.
func choice(what string, known ...string) kind[string] {
	return quoted(what, func(s string) (string, error) {
		for _, k := range known {
			if s == k {
				return s, nil
			}
		}
		return "", faultf(fmt.Sprintf("is %q, which is an unknown %s", s, what), "%sKnown: %s.", didYouMean(nearest(s, known)), list(known))
	})
}

// named is a name of restricted characters.
func named(pattern string, most int, rule string) kind[string] {
	re := regexp.MustCompile(pattern)
	return quoted("a name", func(s string) (string, error) {
		if !re.MatchString(s) {
			return "", faultf(fmt.Sprintf("is %q, which isn't a valid name", s), "%sIt takes %s.", didYouMean(lower(s, re)), rule)
		}
		if len(s) > most {
			return "", faultf(fmt.Sprintf("has %d characters", len(s)), "The most is %d.", most)
		}
		return s, nil
	})
}

// lower returns the name in the form that is valid, or "".
func lower(s string, valid *regexp.Regexp) string {
	s = strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(s))
	if valid.MatchString(s) {
		return s
	}
	return ""
}

var plainServerName = named(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`, 24, "lower-case letters, digits and hyphens (not at the ends)")

func parseServerName(s string) (string, error) {
	if s == "models" {
		return "", faultf(`is "models", which is reserved`, "The group llm-models owns the models folder.")
	}
	return plainServerName.decode(scope{}, cty.StringVal(s))
}

func parseModelName(s string) (string, error) {
	if base, ok := strings.CutSuffix(s, ".gguf"); ok {
		return "", faultf(fmt.Sprintf("is %q, which ends with .gguf", s), "Write %q: llmhost adds the suffix on the host.", base)
	}
	return engineName.decode(scope{}, cty.StringVal(s))
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		if _, bare := strconv.ParseFloat(s, 64); bare == nil && !strings.HasPrefix(s, "-") {
			return 0, faultf(fmt.Sprintf("is %q, which has no unit", s), "Did you mean %q? Units are s, m and h.", s+"s")
		}
		return 0, faultf(fmt.Sprintf("is %q, which is no duration", s), "Write a number and a unit, such as %q, %q or %q.", "90s", "5m", "1h30m")
	}
	if d <= 0 || d > 24*time.Hour {
		return 0, faultf(fmt.Sprintf("is %q, which is out of range", s), "Write a duration above zero and up to %q.", "24h")
	}
	return d, nil
}

var power = regexp.MustCompile(`^([0-9]{1,4}) ?W$`)

// parseWatts reads the power of a card.
func parseWatts(s string) (int, error) {
	match := power.FindStringSubmatch(s)
	if match == nil {
		return 0, faultf(fmt.Sprintf("is %q, which is no power", s), "Write whole watts, such as %q.", "300W")
	}
	n, _ := strconv.Atoi(match[1]) // four digits
	if n < 10 || n > 2000 {
		return 0, faultf(fmt.Sprintf("is %q, which is out of range", s), "Write %q to %q.", "10W", "2000W")
	}
	return n, nil
}

func parseTimezone(s string) (string, error) {
	valid := func(s string) bool {
		_, err := time.LoadLocation(s)
		return err == nil && s != "" && s != "Local"
	}
	if valid(s) {
		return s, nil
	}
	hint := ""
	// Names are capitalized word by word, which is what is mostly got wrong: america/new york.
	guess := strings.ToLower(strings.ReplaceAll(s, " ", "_"))
	guess = regexp.MustCompile(`(^|[/_-])[a-z]`).ReplaceAllStringFunc(guess, strings.ToUpper)
	for _, g := range []string{guess, strings.ToUpper(s)} {
		if hint == "" && valid(g) {
			hint = g
		}
	}
	return "", faultf(fmt.Sprintf("is %q, which is an unknown time zone", s), "%sWrite a name of the IANA database, such as %q or %q.", didYouMean(hint), "America/Chicago", "UTC")
}

var hexDigits = regexp.MustCompile(`^[0-9a-f]*$`)

func parseDigest(s string) (string, error) {
	const digits = 64 // 256 bits, four in each hexadecimal digit
	pin := "llmhost pin -s NAME computes and writes it."
	switch {
	case strings.HasPrefix(s, "sha256:"):
		return "", faultf(`starts with "sha256:"`, "Write the %d hexadecimal digits alone.", digits)
	case !hexDigits.MatchString(strings.ToLower(s)):
		i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) })
		return "", faultf(fmt.Sprintf("has %q at character %d, which isn't a hexadecimal digit", []rune(s[i:])[0], i+1), "%s", pin)
	case len(s) != digits:
		return "", faultf(fmt.Sprintf("has %d digits and not %d", len(s), digits), "%s", pin)
	case s != strings.ToLower(s):
		return "", faultf("has upper-case digits", "Write %q.", strings.ToLower(s))
	}
	return s, nil
}

func parseMode(s string) (Mode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o7777 || len(s) < 3 {
		return 0, faultf(fmt.Sprintf("is %q, which is no file mode", s), "Write three or four octal digits up to 7777, such as %q.", "0640")
	}
	return Mode(n), nil
}

// unsafePath finds what no path of a host file needs and what could break out of a line of a unit or a log.
var unsafePath = regexp.MustCompile(`[\x00-\x1f\x7f]`)

func parseLocalPath(in scope, s string) (string, error) {
	switch {
	case s == "" || unsafePath.MatchString(s):
		return "", faultf(fmt.Sprintf("is %q, which is no path", s), "Write a path that is absolute, starts with ~/ or is relative to the host file's folder.")
	case s == "~" || strings.HasPrefix(s, "~/"):
		if in.home == "" {
			return "", faultf("starts with ~, but your home folder isn't known", "Set HOME or write the whole path.")
		}
		return filepath.Join(in.home, s[1:]), nil
	case s[0] == '~':
		return "", faultf(fmt.Sprintf("is %q, which names another user's home", s), "Write the whole path.")
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	}
	return filepath.Join(in.folder, s), nil
}

func parseArchivePath(in scope, s string) (string, error) {
	for _, suffix := range []string{".tar", ".tar.gz", ".tar.zst"} {
		if strings.HasSuffix(s, suffix) {
			return parseLocalPath(in, s)
		}
	}
	return "", faultf(fmt.Sprintf("is %q, which is no archive that llmhost reads", s), "Its name must end with .tar, .tar.gz or .tar.zst.")
}

func parseHostPath(s string) (string, error) {
	switch {
	case unsafePath.MatchString(s):
		return "", faultf(fmt.Sprintf("is %q, which has a control character in it", s), "Remove it.")
	case !path.IsAbs(s):
		return "", faultf(fmt.Sprintf("is %q, which isn't absolute", s), "%sA path on the host starts with /.", didYouMean(path.Clean("/"+strings.TrimPrefix(s, "~/"))))
	case path.Clean(s) != s:
		return "", faultf(fmt.Sprintf("is %q, which isn't in its shortest form", s), "Write %q.", path.Clean(s))
	case s == "/":
		return "", faultf("is the root folder", "Write a path below it.")
	}
	return s, nil
}

var (
	plainPath = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

	// systemFolders belong to the operating system; some of them vanish at a reboot.
	systemFolders = []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp", "/usr"}
	// sharedFolders hold other things of the host, so a folder below them is right and they themselves aren't.
	sharedFolders = []string{"/home", "/media", "/mnt", "/opt", "/root", "/srv", "/var", "/var/lib"}
)

func parseModelsPath(s string) (string, error) {
	s, err := parseHostPath(s)
	if err != nil {
		return "", err
	}
	if !plainPath.MatchString(s) {
		return "", faultf(fmt.Sprintf("is %q, which has characters that a systemd unit gives a meaning", s), "It takes letters, digits and . _ - /.")
	}
	for _, folder := range systemFolders {
		if within(s, folder) {
			return "", faultf(fmt.Sprintf("is %q, which belongs to the operating system", s), "Use a folder such as %q.", DefaultModelsPath)
		}
	}
	for _, folder := range sharedFolders {
		if s == folder {
			return "", faultf(fmt.Sprintf("is %q, which holds other things too", s), "llmhost closes the folder to everybody else. Use one below it, such as %q.", s+"/models")
		}
	}
	for _, folder := range ownFolders {
		if within(s, folder.path) || within(folder.path, s) {
			return "", faultf(fmt.Sprintf("is %q, where llmhost keeps %s", s, folder.holds), "Use a folder such as %q.", DefaultModelsPath)
		}
	}
	return s, nil
}

func parsePathInArchive(s string) (string, error) {
	clean := path.Clean(s)
	switch {
	case s == "" || unsafePath.MatchString(s) || clean == ".":
		return "", faultf(fmt.Sprintf("is %q, which is no path", s), "Write the program's path inside the archive, such as %q.", "usr/bin/llama-server")
	case path.IsAbs(s):
		return "", faultf(fmt.Sprintf("is %q, which is absolute", s), "Write it relative to the archive's root: %q.", strings.TrimLeft(clean, "/"))
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return "", faultf(fmt.Sprintf("is %q, which leads out of the archive", s), "Write the program's path inside the archive, such as %q.", "usr/bin/llama-server")
	case clean != s:
		return "", faultf(fmt.Sprintf("is %q, which isn't in its shortest form", s), "Write %q.", clean)
	}
	return s, nil
}
