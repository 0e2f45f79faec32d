package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/test/bench/figure"
)

func TestRead(t *testing.T) {
	got, err := read(strings.NewReader(`goos: linux
BenchmarkEvaluations-2   	  100	 12.5 ns/op	 299999 evaluations/s
BenchmarkDecide/100-2   	  100	 1000 ns/op
BenchmarkDecide/10000-2   	  100	 1290 ns/op
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []figure.Figure{
		{Name: "Evaluations ns/op", Value: 12.5, Unit: "ns/op", Met: true},
		{Name: "Evaluations evaluations/s", Value: 300000, Unit: "evaluations/s", Target: 300000, Met: false},
		{Name: "Decide/100 ns/op", Value: 1000, Unit: "ns/op", Met: true},
		{Name: "Decide/10000 ns/op", Value: 1290, Unit: "ns/op", Met: true},
		{Name: "Decide growth", Value: 1.29, Unit: "ratio", Target: 1.3, Met: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
