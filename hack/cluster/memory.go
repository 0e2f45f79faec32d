// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// containerMemory is one container's memory as the kubelet sees it.
type containerMemory struct {
	Namespace       string `json:"namespace"`
	Pod             string `json:"pod"`
	Container       string `json:"container"`
	WorkingSetBytes uint64 `json:"workingSetBytes"`
	RSSBytes        uint64 `json:"rssBytes"`
}

// statsSummary is the part of the kubelet's /stats/summary that is read.
type statsSummary struct {
	Pods []struct {
		PodRef struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"podRef"`
		Containers []struct {
			Name   string `json:"name"`
			Memory struct {
				WorkingSetBytes uint64 `json:"workingSetBytes"`
				RSSBytes        uint64 `json:"rssBytes"`
			} `json:"memory"`
		} `json:"containers"`
	} `json:"pods"`
}

func runMemory(ctx context.Context, l Layout, args []string) error {
	flags := flag.NewFlagSet("memory", flag.ContinueOnError)
	namespace := flags.String("n", "", "namespace; empty means all")
	output := flags.String("o", "table", "table or json")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *output != "table" && *output != "json" {
		return errors.New("-o takes table or json")
	}
	raw, err := kubectl(ctx, l, "", "get", "--raw", "/api/v1/nodes/"+nodeName+"/proxy/stats/summary")
	if err != nil {
		return err
	}
	rows, err := parseMemory([]byte(raw), *namespace)
	if err != nil {
		return err
	}
	if *output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(rows)
	}
	return printMemory(rows)
}

func parseMemory(raw []byte, namespace string) ([]containerMemory, error) {
	var summary statsSummary
	if err := json.Unmarshal(raw, &summary); err != nil {
		return nil, fmt.Errorf("the kubelet's summary: %w", err)
	}
	rows := []containerMemory{}
	for _, pod := range summary.Pods {
		if namespace != "" && pod.PodRef.Namespace != namespace {
			continue
		}
		for _, c := range pod.Containers {
			rows = append(rows, containerMemory{pod.PodRef.Namespace, pod.PodRef.Name, c.Name, c.Memory.WorkingSetBytes, c.Memory.RSSBytes})
		}
	}
	slices.SortFunc(rows, func(a, b containerMemory) int {
		return strings.Compare(a.Namespace+"/"+a.Pod+"/"+a.Container, b.Namespace+"/"+b.Pod+"/"+b.Container)
	})
	return rows, nil
}

func printMemory(rows []containerMemory) error {
	const mebi = 1 << 20
	var total float64
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tPOD\tCONTAINER\tWORKING SET\tRSS")
	for _, r := range rows {
		total += float64(r.WorkingSetBytes)
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f MiB\t%.1f MiB\n", r.Namespace, r.Pod, r.Container, float64(r.WorkingSetBytes)/mebi, float64(r.RSSBytes)/mebi)
	}
	fmt.Fprintf(w, "TOTAL\t\t\t%.1f MiB\t\n", total/mebi)
	return w.Flush()
}
