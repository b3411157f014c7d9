module github.com/nodetermination/operator

go 1.26.0
