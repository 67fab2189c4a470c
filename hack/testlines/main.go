// Command testlines reads `go test -json` and prints what a person wants: each package's line, whatever a failed test
// wrote, and with -sum only the count at the end. It fails if a test failed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

type key struct{ pkg, test string }

func main() {
	sum := flag.Bool("sum", false, "print the count alone")
	flag.Parse()
	passed, failed := 0, 0
	var failures []string
	output := map[key][]string{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			failed++ // what is no event is a build's complaint
			failures = append(failures, in.Text())
			if !*sum {
				fmt.Println(in.Text())
			}
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "output", "build-output":
			output[k] = append(output[k], e.Output)
			continue
		case "build-fail":
			if !*sum {
				fmt.Print(strings.Join(output[key{}], ""))
			}
		case "pass", "fail":
			if e.Test != "" {
				if e.Action == "pass" {
					passed++
				} else {
					failed++
					failures = append(failures, e.Package+" "+e.Test)
				}
			} else if e.Action == "fail" && !anyFailure(failures, e.Package) {
				failed++ // did not build, panicked or ran out of time
				failures = append(failures, e.Package)
			}
		case "skip":
		default:
			continue
		}
		if !*sum && (e.Test == "" || e.Action == "fail") {
			show(e, output[k])
		}
		delete(output, k)
	}
	if *sum {
		for _, f := range failures {
			fmt.Println("FAILED", f)
		}
		fmt.Printf("%d passed, %d failed\n", passed, failed)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func anyFailure(failures []string, pkg string) bool {
	for _, f := range failures {
		if strings.HasPrefix(f, pkg+" ") {
			return true
		}
	}
	return false
}

// show prints all that a failed test or package wrote; of a package that passed, its closing line.
func show(e event, lines []string) {
	if e.Action == "fail" {
		fmt.Print(strings.Join(lines, ""))
		return
	}
	for _, l := range lines {
		if strings.HasPrefix(l, "ok ") {
			fmt.Print(l)
		}
	}
}
