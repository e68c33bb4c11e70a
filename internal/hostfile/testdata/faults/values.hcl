host "values" {
  timezone = 5

  ssh {
    address = null
    port    = "22"
    user    = root
    jump    = bastion.example.org
  }

  gpu "nvida" {
    vram      = 24
    bandwidth = "1008GB"
  }

  file "/etc/a" {
    content = "${name}"
    adopt   = "yes"
    mode    = 0644
    owner   = ["root"]
    group   = upper("root")
  }
}
