// Command fakeengine stands in for a new version of an engine that doesn't work. It is no model
// server: it ends at once, as one does that doesn't know its arguments, or runs and never answers.
package main

import (
	"fmt"
	"os"
	"time"
)

// ends is set when it is built.
var ends = "no"

func main() {
	if ends == "yes" {
		fmt.Fprintf(os.Stderr, "fakeengine: unknown argument %q\n", os.Args[1:])
		os.Exit(1)
	}
	for {
		time.Sleep(time.Hour)
	}
}
