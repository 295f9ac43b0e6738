#!/usr/bin/env bash
# Django commands that only ask create the SQLite database if its file is missing, and take it for an empty one.
# Expected: `showmigrations` and the two `--check` write nothing, and say that there is no database.
# Seen with Django 5.2.19 and Python 3.11.7: each of them creates an empty file. `showmigrations` then ends with 0 and
# lists every migration as not applied, so a wrong path in the settings looks like a new site, and the file that stays
# looks like a database. `makemigrations --check` needs no database, and yet creates it. In a directory that does not
# exist they fail; but `migrate --check` ends with 1 then, just as for migrations that are not applied. Output:
#   showmigrations: status 0, empty file created, applied 0 of 1
#   migrate --check: status 1, empty file created
#   makemigrations --check: status 0, empty file created
#   migrate --check with no directory: status 1, no file created
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check django==5.2.19
python="$place/tools/bin/python"
echo "Django $("$python" -m django --version), $("$python" --version)"

mkdir -p site/shop/migrations
cd site
touch shop/__init__.py shop/migrations/__init__.py
cat > shop/models.py <<'END'
from django.db import models

class Product(models.Model):
    id = models.AutoField(primary_key=True)
END
cat > shop/migrations/0001_initial.py <<'END'
from django.db import migrations, models

class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Product", [("id", models.AutoField(primary_key=True, serialize=False))])]
END
cat > settings.py <<'END'
import os

SECRET_KEY = "for a test"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
END
export DJANGO_SETTINGS_MODULE=settings PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1

try() { # FILE COMMAND…: run it without the file, and tell what is there afterwards
    local file=$1 status=0 created="no file created"
    shift
    rm -f "$file"
    DATABASE=$file "$python" -m django "$@" > log 2>&1 || status=$?
    [[ -e $file ]] && created="$(stat -c %s "$file") bytes created"
    [[ "$created" == "0 bytes created" ]] && created="empty file created"
    echo "status $status, $created"
}

found="showmigrations: $(try db showmigrations), applied $(grep -c '\[X\]' log || true) of $(grep -c '\[.\]' log)
migrate --check: $(try db migrate --check)
makemigrations --check: $(try db makemigrations --check)
migrate --check with no directory: $(try none/db migrate --check)"
echo "$found"
[[ "$found" == "showmigrations: status 0, empty file created, applied 0 of 1
migrate --check: status 1, empty file created
makemigrations --check: status 0, empty file created
migrate --check with no directory: status 1, no file created" ]] || { echo "The behaviour has changed."; exit 1; }
