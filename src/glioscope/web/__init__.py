"""The web page: upload scans, watch them being segmented, look, correct, download. And the same as an API.

    settings ── store ── uploads ── recognise ── jobs ── results ── service ── guard, pages ── app

`settings` holds the limits, `store` the list of cases in SQLite, `uploads` brings files to disk, `recognise` tells the
sequences, `jobs` runs the command line in processes of its own, `results` reads and writes versions, `service` puts
these together, `queue` shows a node's studies, `guard` keeps others out, `app` answers requests. Needs the extra `web`;
never torch.
"""
