// Command story tells the story of test/e2e/story on the cluster that KUBECONFIG names. It is what `make up` runs last.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dizuo/dizuo/test/e2e/story"
)

func main() {
	root := flag.String("root", ".", "checkout")
	columns := flag.Int("columns", 180, "longest quoted line; 0 for no bound")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env, err := story.Local(*root)
	if err == nil {
		err = story.Run(ctx, env, story.Printer{Out: os.Stdout, Columns: *columns})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe story stopped:", err)
		fmt.Fprintln(os.Stderr, "Look: "+filepath.Base(env.Dizuo)+" status -n henan; kubectl -n henan get pods,events; kubectl -n dizuo-system logs deployment/dizuo-operator")
		os.Exit(1)
	}
}
