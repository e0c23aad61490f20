module example.com/days

go 1.26.0
