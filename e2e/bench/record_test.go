package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/skiff-project/skiff/e2e/lab"
)

func figures() *record {
	r := &record{runs: 3}
	for _, v := range []float64{700, 800, 900} {
		r.add("api", "create <pods>", "/s", more, lab.Upstream, v)
	}
	for _, v := range []float64{4000, 1, 5000} {
		r.add("api", "create <pods>", "/s", more, lab.Skiff, v)
	}
	r.add("node", "memory", "MB", less, lab.Upstream, 800)
	r.add("node", "memory", "MB", less, lab.Skiff, 1600)
	r.add("node", "memory", "MB", less, bound, 10)
	r.add("node", "not measured beside upstream", "s", less, lab.Skiff, 1)
	return r
}

func TestTheTableTellsMediansAndHowManyTimesBetter(t *testing.T) {
	text := figures().text()
	require.Regexp(t, `create <pods> +/s +800 +4000 +5\.0x`, text)
	require.Regexp(t, `memory +MB +800 +1600 +0\.5x +10\.0`, text)
	require.Regexp(t, `not measured beside upstream +s +1\.0 *\n`, text)
}

func TestTheDocumentKeepsWhatStandsAroundTheTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	require.NoError(t, os.WriteFile(file, []byte("# Before\n"+tableBegins+"\nold\n"+tableEnds+"\nafter\n"), 0o644))
	require.NoError(t, replaceTable(file, figures().markdown()))
	require.NoError(t, replaceTable(file, figures().markdown()))
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(body), "old")
	require.Equal(t, 1, strings.Count(string(body), "| create <pods> | /s | 800 | 4000 | 5.0x |  |"))
	require.True(t, strings.HasPrefix(string(body), "# Before\n") && strings.HasSuffix(string(body), "\nafter\n"))
	require.NoError(t, os.WriteFile(file, []byte("no marks"), 0o644))
	require.Error(t, replaceTable(file, "x"))
}

func TestTheChartHasABarForEveryRowOfBothSides(t *testing.T) {
	svg := chart(figures().rows)
	var parsed struct {
		Rects []struct {
			Class string `xml:"class,attr"`
		} `xml:"rect"`
	}
	require.NoError(t, xml.Unmarshal([]byte(svg), &parsed), svg)
	var classes []string
	for _, r := range parsed.Rects {
		classes = append(classes, r.Class)
	}
	require.Equal(t, []string{"", "good", "bad"}, classes)
}
