"The same app in as many processes as the environment names, on consecutive ports: FastHTML starts this script once for each."
from fasthtml.common import serve

from tests.apps.channel import app  # noqa: F401 (uvicorn looks for it here)

serve(host='127.0.0.1', reload=False)
